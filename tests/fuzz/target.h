// SPDX-License-Identifier: BSD-3-Clause
// What a fuzz target is: libFuzzer's entry, and what to start from. driver.cc runs it on mutations of the
// seeds; with clang the same file links with -fsanitize=fuzzer instead.
//
// A finding is a crash, a sanitizer's report, or check() failing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace lagan::test {

using Input = std::vector<uint8_t>;

std::vector<Input> fuzz_seeds();

// How far the inputs got, to see that mutations do not all end at the first check.
std::string fuzz_summary();

inline void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
    std::abort();
}

}  // namespace lagan::test
