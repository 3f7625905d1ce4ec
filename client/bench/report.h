// SPDX-License-Identifier: BSD-3-Clause
// The figures, for people and for programs.
#pragma once

#include <string>

#include "client/bench/figures.h"
#include "client/bench/options.h"
#include "client/bench/verifier.h"

namespace lagan::bench {

struct Result {
    const Options& options;
    uint64_t region_bytes;
    const Figures& figures;
    const Verifier* verifier;  // null: nothing was verified
    bool interrupted;
    uint64_t reconnections;  // of all connections
    std::string failure;     // of a connection; empty: none
};

void print_table(const Result& result);
std::string to_json(const Result& result);

// One line a second while the load runs.
class Progress {
  public:
    explicit Progress(const Figures& figures) : figures_(figures) {}
    void print();

  private:
    const Figures& figures_;
    uint64_t before_ = 0;
    uint32_t second_ = 0;
};

}  // namespace lagan::bench
