// SPDX-License-Identifier: Apache-2.0
/** Training: the loop, its schedule and budget, its log, and the saved parameters. */
package ponder.train;
