/* SPDX-License-Identifier: Apache-2.0 */
/* Multiplies two matrices through the installed header and library, in plain C. */
#include <ponder.h>
#include <stdio.h>

static int failed(pnd_context *context, const char *what) {
  char sentence[256] = "";
  pnd_message(context, sentence, sizeof sentence);
  fprintf(stderr, "%s: %s\n", what, sentence);
  return 1;
}

int main(void) {
  int32_t version = 0;
  if (pnd_abi_version(NULL, &version) != PND_OK || version != PND_ABI_VERSION)
    return failed(NULL, "pnd_abi_version");

  pnd_context *context = NULL;
  if (pnd_open(&context, 0, 1, 0) != PND_OK) return failed(NULL, "pnd_open");

  const float a[] = {1, 2, 3, 4, 5, 6};    /* [2, 3] */
  const float b[] = {7, 8, 9, 10, 11, 12}; /* [3, 2] */
  const float expected[] = {58, 64, 139, 154};
  float y[4] = {0};
  if (pnd_matmul(context, PND_F32, y, a, b, 1, 2, 2, 3, 0, 0) != PND_OK)
    return failed(context, "pnd_matmul");
  for (int i = 0; i < 4; i++) {
    if (y[i] != expected[i]) return failed(context, "pnd_matmul gives another product");
  }

  if (pnd_matmul(context, PND_F32, y, NULL, b, 1, 2, 2, 3, 0, 0) != PND_BAD_ARGUMENT)
    return failed(context, "a null matrix was not refused");
  if (pnd_close(context) != PND_OK) return failed(NULL, "pnd_close");

  char build[64] = "";
  if (pnd_build(NULL, build, sizeof build) != PND_OK) return failed(NULL, "pnd_build");
  printf("%s: %g %g %g %g\n", build, y[0], y[1], y[2], y[3]);
  return 0;
}
