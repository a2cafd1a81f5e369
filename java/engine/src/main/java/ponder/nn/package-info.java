// SPDX-License-Identifier: Apache-2.0
/** Layers and models as records of tensors; a model is a composition of layers. */
package ponder.nn;
