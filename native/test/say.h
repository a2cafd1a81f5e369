// SPDX-License-Identifier: Apache-2.0
// say.h: a sentence in printf's format, cut at 1,023 characters.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <string>

std::string say(const char *format, ...) __attribute__((format(printf, 1, 2)));
inline std::string say(const char *format, ...) {
  char text[1024];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof text, format, values);
  va_end(values);
  return text;
}
