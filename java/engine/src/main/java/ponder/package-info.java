// SPDX-License-Identifier: Apache-2.0
/**
 * The core: devices, memory, tensors, ops with their derivatives, and the count of all work.
 *
 * <p>A {@link ponder.Device} owns a library's context. Tensors live in its {@link ponder.Scope}s
 * and {@link ponder.Store}s and compute by {@link ponder.Op}s; {@link ponder.Gradient} walks what
 * was recorded; the device's {@link ponder.Meter} counts the work.
 */
package ponder;
