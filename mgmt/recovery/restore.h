// SPDX-License-Identifier: BSD-3-Clause
// Makes a region out of its baseline alone: every page verified, in parallel. All of it, or nothing.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/recovery/checkpoint.h"

namespace lagan::recovery {

// Why a restore ended without a region, beside StoreError.
struct RestoreFailed : std::runtime_error {
    std::vector<baseline::Loss> losses;  // pages that the baseline has no more; empty: another reason
    RestoreFailed(const std::string& what, std::vector<baseline::Loss> lost)
        : std::runtime_error(what), losses(std::move(lost)) {}
};

// Fills an empty region, of the baseline's size and that nobody is connected to, with the reader's cut. Pages
// of kind damaged are there and refused to readers. What was filled in is not dirty. Returns the damaged
// pages' number. Throws RestoreFailed (also on `progress.cancel`, which is
// noticed as in make_checkpoint()) or StoreError; the region is part filled
// then, and of no use. Uses the calling thread's oneTBB arena.
uint64_t restore_pages(const Memory& memory, memory::Region& region, const baseline::BaselineReader& reader,
                       Progress& progress);

// "pages 7, 100-103 and 4 more ranges (NAME: CRC is wrong)": for people.
std::string describe(const std::vector<baseline::Loss>& losses);

}  // namespace lagan::recovery
