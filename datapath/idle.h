// SPDX-License-Identifier: BSD-3-Clause
// What an engine does when there is nothing to do.
#pragma once

#include <cstdint>

#include "datapath/engine.h"

namespace lagan {

// spin: goes on polling. adaptive: after kSpinUs without work it sleeps kSleepUs between polls, so that
// machines with fewer cores than poll loops get on; the first request after such a pause pays for it
// (docs/architecture.md).
class Idler {
  public:
    static constexpr uint32_t kSpinUs = 200;
    static constexpr uint32_t kSleepUs = 50;

    // Called by the thread that polls: asks the kernel for sleeps as short as they are meant.
    explicit Idler(Engine& engine);

    void after_poll(uint32_t work) {
        if (work != 0) {
            idle_since_ = 0;
        } else if (engine_.options.idle == IdlePolicy::adaptive) {
            maybe_sleep();
        }
    }

  private:
    void maybe_sleep();  // idle.cc: the only system call of the loop

    Engine& engine_;
    uint64_t spin_cycles_;
    uint64_t idle_since_ = 0;
};

}  // namespace lagan
