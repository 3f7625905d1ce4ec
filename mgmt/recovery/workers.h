// SPDX-License-Identifier: BSD-3-Clause
// The threads of checkpoints, restores and new regions: a oneTBB arena that keeps off the poll lcores.
#pragma once

#include <sched.h>

#include <vector>

#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_scheduler_observer.h>

namespace lagan::recovery {

class Workers {
  public:
    // `cpus`: where they may run; at least one. There are more threads than CPUs when these are few: while
    // some wait for storage, another checks CRCs.
    explicit Workers(const std::vector<unsigned>& cpus);

    // Runs `work`, which uses oneTBB, with all threads; the calling thread is one of them, and is back on its
    // own CPUs when this returns.
    template <typename Work>
    auto run(Work&& work) {
        return arena_.execute(std::forward<Work>(work));
    }

  private:
    class Pinning final : public tbb::task_scheduler_observer {
      public:
        Pinning(tbb::task_arena& arena, const cpu_set_t& cpus) : task_scheduler_observer(arena), cpus_(cpus) {
            observe(true);
        }
        ~Pinning() override { observe(false); }
        void on_scheduler_entry(bool) override;
        void on_scheduler_exit(bool) override;

      private:
        const cpu_set_t cpus_;
    };

    tbb::global_control threads_;  // oneTBB's own limit is the number of CPUs
    tbb::task_arena arena_;
    Pinning pinning_;
};

}  // namespace lagan::recovery
