// SPDX-License-Identifier: Apache-2.0
/**
 * The boundary to the native libraries: {@link ponder.abi.Kernels} is ponder.h in Java, {@link
 * ponder.abi.Search} finds a library this processor can run, {@link ponder.abi.Library} opens it.
 * Nothing outside of this package links or looks up a symbol, and no exported signature names it.
 */
package ponder.abi;
