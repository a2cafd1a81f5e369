// SPDX-License-Identifier: Apache-2.0
/** Optimisers: rules that move the parameters of a store. */
package ponder.optim;
