// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

/**
 * What one way to choose masks and to weigh them does to a gradient, over all sentences studied.
 *
 * @param scheme its name
 * @param method enumerated, or how many draws
 * @param bias distance of the mean estimate from the mean gradient over uniform sets, as a share of
 *     that gradient's norm
 * @param biasLimit what the distance may be by chance alone (4 standard errors); 0 where all
 *     outcomes were enumerated
 * @param variance of one estimate over that of uniform sets, at the same number of masked words
 * @param effective share of the draws that the weights leave
 * @param toy the variance over that of uniform sets in a toy of ten positions, three masked;
 *     NaN where there is none
 */
public record SchemeRow(
    String scheme,
    String method,
    double bias,
    double biasLimit,
    double variance,
    double effective,
    double toy) {}
