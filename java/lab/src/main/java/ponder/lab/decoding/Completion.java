// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

/**
 * What a model wrote after a prompt.
 *
 * @param tokens the tokens after the prompt, the end token left out
 * @param logLikelihood the model's log-probability of them and of the end token, in nats
 * @param ended whether the end token came before the limit of steps
 */
public record Completion(int[] tokens, double logLikelihood, boolean ended) {}
