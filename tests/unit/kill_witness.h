// SPDX-License-Identifier: BSD-3-Clause
// What is known of pages that several threads of a process change until it is killed: which contents a page
// may have then. Lies in memory that outlives the process.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <memory>
#include <new>
#include <string>

namespace lagan::test {

// A change of a page by one of the threads. Absent pages are word 0, so no other content is.
class PageWitness {
  public:
    static constexpr unsigned kThreads = 2;

    // What the thread's next change of this page stores. Each fifth one frees the page.
    uint64_t next_word(unsigned thread) const {
        const uint64_t version = versions_[thread] + 1;
        return version % 5 == 0 ? 0 : version * kThreads + thread;
    }
    // Around the change itself. Tickets are drawn from one counter for all pages and threads.
    void begin(unsigned thread, uint64_t word, std::atomic<uint64_t>& tickets) {
        Change& change = change_of(thread, ++versions_[thread]);
        change.begun = 0;  // until all of it is there
        change.acknowledged = 0;
        change.word = word;
        change.begun = ++tickets;
    }
    void end(unsigned thread, std::atomic<uint64_t>& tickets) {
        change_of(thread, versions_[thread]).acknowledged = ++tickets;
    }

    // May the page have this content? Not what was there before a change began that was acknowledged.
    bool may_hold(uint64_t word) const {
        const uint64_t newest = newest_acknowledged();
        if (settled_ == word && newest == 0) return true;
        return std::any_of(changes_.begin(), changes_.end(), [&](const Change& change) {
            const bool over = change.acknowledged != 0 && change.acknowledged < newest;
            return change.begun != 0 && !over && change.word == word;
        });
    }
    // For people: the contents that may be there.
    std::string expected() const {
        std::string words = newest_acknowledged() == 0 ? std::to_string(settled_) : "";
        for (const Change& change : changes_)
            if (may_hold(change.word)) words += ' ' + std::to_string(change.word);
        return words;
    }
    // What was under way when the process was killed has happened or not: from here on it is what is there.
    void settle(uint64_t word) {
        settled_ = word;
        for (Change& change : changes_)
            change.begun = 0;
    }
    uint64_t changes() const { return versions_[0] + versions_[1]; }

  private:
    struct Change {
        std::atomic<uint64_t> begun{0};         // ticket; 0: there is no such change
        std::atomic<uint64_t> acknowledged{0};  // ticket; 0: not yet
        std::atomic<uint64_t> word{0};
    };
    // The one before is known still while a thread's next one is under way.
    Change& change_of(unsigned thread, uint64_t version) { return changes_[thread * 2 + version % 2]; }
    // When the last change began that was acknowledged.
    uint64_t newest_acknowledged() const {
        uint64_t newest = 0;
        for (const Change& change : changes_)
            if (change.acknowledged != 0) newest = std::max<uint64_t>(newest, change.begun);
        return newest;
    }

    std::atomic<uint64_t> settled_{0};
    std::array<std::atomic<uint64_t>, kThreads> versions_{};
    std::array<Change, 2 * kThreads> changes_;
};

template <uint64_t kPages>
struct Witness {
    PageWitness pages[kPages];
    std::atomic<uint64_t> tickets{0};
    std::atomic<uint64_t> checkpoints{0};
    std::atomic<bool> calm{false};  // who changes pages leaves time for a checkpoint

    struct Unmap {
        void operator()(Witness* witness) const { munmap(witness, sizeof *witness); }
    };
    // Shared with child processes.
    static std::unique_ptr<Witness, Unmap> make() {
        void* memory =
            mmap(nullptr, sizeof(Witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        BOOST_REQUIRE(memory != MAP_FAILED);
        return std::unique_ptr<Witness, Unmap>(new (memory) Witness);
    }
};

}  // namespace lagan::test
