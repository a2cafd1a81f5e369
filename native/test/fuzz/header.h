// SPDX-License-Identifier: Apache-2.0
// header.h: what the comments of ponder.h say about arrays, read from the header itself, so that
// the documentation is what the libraries are held to. A function's comment, else the latest one
// before it that speaks of the array in sizes the function has, gives
//   x, y [rows, cols + 1]         a shape
//   mask (nullable) [k_steps]     a shape, or null
//   y[0]                          one element
//   index [count] in [0, rows)    a shape and the range of its values
//   in place                      what a function finds in its outputs counts
// An array of which no comment speaks has the shape [n], and dx that of x.
#pragma once

#include <cctype>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>

#include "functions.h"

// A sum of sizes and numbers, such as "size - count".
class Sum {
 public:
  explicit Sum(const std::string &text) {
    static const std::regex kTerm(" *([+-]?) *([A-Za-z0-9_]+)");
    for (std::sregex_iterator i(text.begin(), text.end(), kTerm), end; i != end; ++i) {
      terms_.push_back({(*i)[1] == "-" ? -1 : 1, (*i)[2]});
    }
  }
  template <class Known>
  bool is_known(Known &&known) const {
    for (const Term &t : terms_) {
      if (!is_number(t) && !known(t.word)) return false;
    }
    return !terms_.empty();
  }
  // Sizes may be huge: in double, where nothing overflows.
  template <class Value>
  double value(Value &&value) const {
    double sum = 0;
    for (const Term &t : terms_) sum += t.sign * (is_number(t) ? std::stod(t.word) : value(t.word));
    return sum;
  }

 private:
  struct Term {
    int sign;
    std::string word;
  };
  static bool is_number(const Term &t) { return std::isdigit(t.word[0]) != 0; }
  std::vector<Term> terms_;
};

struct Range {
  Sum low, high;
  bool closed;  // whether high is in it
};

// What a comment says about an array.
struct Stated {
  std::vector<Sum> shape;
  bool nullable = false;
  std::optional<Range> range;
};

class Header {
 public:
  explicit Header(const char *path) {
    std::ifstream file(path);
    std::stringstream all;
    all << file.rdbuf();
    const std::string text = all.str();
    // Without recursion, as a comment is longer than what std::regex can match.
    for (size_t at = 0; (at = text.find_first_of("/P", at)) != std::string::npos; ++at) {
      if (text.compare(at, 2, "/*") == 0) {
        const size_t end = std::min(text.find("*/", at), text.size());
        read_comment(text.substr(at, end - at));
        at = end;
      } else if (text.compare(at, 16, "PND_API int32_t ") == 0) {
        const size_t name = at + 16;
        said_[text.substr(name, text.find('(', name) - name)] = {stated_.size(), in_place_};
      }
    }
  }

  // What is said of a function's parameter; throws where nothing is.
  Stated of(const Function &f, size_t parameter) const {
    const std::string name = f.parameters[parameter];
    const auto known = [&](const std::string &word) {
      for (size_t i = 0; i < f.parameters.size(); ++i) {
        // A choice of 0 or 1 may add to a size.
        if (f.parameters[i] == word) return f.kinds[i] == Kind::Int64 || f.kinds[i] == Kind::Int32;
      }
      return false;
    };
    const auto said = said_.find(f.name);
    std::optional<Stated> found;
    for (size_t i = said == said_.end() ? 0 : said->second.stated; i-- > 0;) {
      const auto &[array, stated] = stated_[i];
      if (array != name && "d" + array != name) continue;
      bool fits = true;
      for (const Sum &size : stated.shape) fits = fits && size.is_known(known);
      if (!fits) continue;
      if (!found) found = Stated{stated.shape, stated.nullable, {}};
      // An adjoint's comment may give the shape again and leave the range to its function's.
      const auto &range = stated.range;
      if (range && range->low.is_known(known) && range->high.is_known(known)) {
        found->range = range;
        break;
      }
    }
    if (found) return *found;
    if (!known("n")) {
      throw std::runtime_error(std::string("ponder.h states no shape of ") + f.name + "'s " + name);
    }
    return {{Sum("n")}, false, {}};
  }

  bool works_in_place(const Function &f) const { return said_.at(f.name).in_place; }

 private:
  struct Said {
    size_t stated;  // how many statements stand before the declaration
    bool in_place;
  };

  void read_comment(std::string text) {
    text = std::regex_replace(text, std::regex("\n \\*"), "");
    in_place_ = text.find("n place") != std::string::npos;
    static const std::regex kArrays(
        "((?:[a-z_0-9]+, )*[a-z_0-9]+)(?: \\(([^)]*)\\))?(?: \\[([^\\])]*)\\]|\\[0\\])"
        "(?: in \\[([^,]*), ([^\\])]*)([\\])]))?");
    for (std::sregex_iterator i(text.begin(), text.end(), kArrays), end; i != end; ++i) {
      const std::smatch &m = *i;
      Stated stated;
      split(m[3].matched ? m[3].str() : "1",
            [&](const std::string &size) { stated.shape.emplace_back(size); });
      stated.nullable = m[2].str().rfind("nullable", 0) == 0;
      if (m[4].matched) stated.range = Range{Sum(m[4]), Sum(m[5]), m[6] == "]"};
      split(m[1], [&](const std::string &name) { stated_.emplace_back(name, stated); });
    }
  }
  template <class F>
  static void split(const std::string &text, F &&f) {
    std::stringstream parts(text);
    for (std::string part; std::getline(parts, part, ',');) {
      f(part.substr(part.find_first_not_of(' ')));
    }
  }

  std::vector<std::pair<std::string, Stated>> stated_;
  std::map<std::string, Said> said_;
  bool in_place_ = false;
};
