// SPDX-License-Identifier: Apache-2.0
/** The fused ops: kernels that equal their definitions in primitives and are faster. */
package ponder.op;
