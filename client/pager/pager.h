// SPDX-License-Identifier: BSD-3-Clause
// Serves the page faults of one program from far memory, and keeps what it holds locally under a limit.
//
// One thread. Nothing waits: READs, stores and frees are outstanding while faults of other pages are served.
// The state of each page (page_map.h) says what is to be done; everything that happens is a change of state.
// What keeps the bytes right:
//
// 1. One live copy. A page that the program can write to (`local`, `storing_written`) is the truth, and the
// appliance's
//    copy, if any, is given back by a FREE that is pending or sent. A page is dropped only from `cached`
//    (protected, stored, acknowledged) or `zero` (protected, nothing but zeros).
// 2. Between a look at the state and the deed nothing can happen to a protected page: only this thread takes
// the
//    protection away, and a removal waits until this thread has read its event. While a removal waits, every
//    call that fills or protects says `busy`; then the events are read and the state is looked at again.
// 3. A removal is applied when its event is read, a moment before the kernel punches the hole. A fault in
// that moment may
//    fill a page that the hole then takes; its next fault finds a "resident" page missing, is filled with
//    zeros, and the page is local from then on (`refill_lost`).
// 4. Operations on one page reach the appliance in order (page_store.h), and a page is freed late never after
// it has been
//    stored again (free_list.h). A removal during a READ or store is noted in the state; the FREE follows its
//    completion.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/page_store.h"
#include "client/pager/address_space.h"
#include "client/pager/free_list.h"
#include "client/pager/page_map.h"
#include "client/pager/reclaimer.h"
#include "client/pager/resident_queue.h"
#include "client/pager/stream_detector.h"

namespace lagan::client::pager {

struct PagerOptions {
    uint64_t local_memory_bytes;
    bool prefetch = true;
};

struct PagerStats {
    uint64_t faults;  // threads that had to wait, prefetch not counted
    uint64_t pages_read;
    uint64_t pages_prefetched;  // of those read
    uint64_t pages_stored;
    uint64_t pages_freed;
    uint64_t zero_fills;     // first touches
    uint64_t pages_removed;  // given up by the program
    uint32_t resident_pages;
    uint32_t peak_resident_pages;
    uint32_t waiting_faults;
};

class Pager {
  public:
    static constexpr uint64_t kMinLocalMemoryBytes = 1 << 20;

    // The store outlives the pager. Throws std::invalid_argument if local_memory_bytes is too small.
    Pager(PageStore& store, PagerOptions options);

    // Serve this mapping from now on. One that was served before has ended; its pages are freed first, which
    // waits for the appliance, and calls `while_waiting` meanwhile: what that throws ends the wait, and this
    // object's use. The mapping must not have more pages than the store. Throws std::runtime_error.
    void attach(std::unique_ptr<AddressSpace> space, const std::function<void()>& while_waiting = {});
    bool attached() const { return space_ != nullptr; }

    // One turn: events, completions, faults, reclaim, frees. True if there was anything to do. Throws
    // std::runtime_error when the program's memory can no longer be served (connection lost, a store
    // refused): the program must be ended then, because its next fault has no answer.
    bool step();

    // Nothing is outstanding and nothing waits: only an event can give work.
    bool quiet() const;
    int event_descriptor() const { return space_ ? space_->event_descriptor() : -1; }
    PagerStats stats() const;

  private:
    static constexpr uint32_t kSingleSlots = 64;
    static constexpr uint32_t kRunSlots = 24;
    static constexpr uint32_t kRunPages = StreamDetector::kMaxWindow;
    static constexpr size_t kBufferBytes = size_t{kSingleSlots + kRunSlots * kRunPages} * kPageBytes;
    static constexpr size_t kFreesAtOnce = 256;
    static constexpr uint32_t kTurnsBeforeFlush = 64;

    enum class Operation : uint8_t { read = 1, store = 2, free = 3 };
    static constexpr uint64_t cookie_base(Operation operation) {
        return uint64_t{static_cast<uint8_t>(operation)} << 56;
    }

    struct Fault {
        uint32_t page;
        bool write;
        bool protection;
    };
    struct ReadSlot {
        uint32_t page, count;
        std::byte* buffer;
    };

    bool drain_events();
    void wait_for_removal();
    void apply_removal(uint32_t first, uint32_t count);
    bool serve_faults();
    bool serve(const Fault& fault);  // false: it has to wait
    bool serve_absent(const Fault& fault);
    uint32_t neighbours(uint32_t page, StreamDetector::Advice advice, PageState state) const;
    void prefetch(uint32_t page, StreamDetector::Advice advice, bool write);
    bool read_run(std::vector<uint32_t>& slots, uint32_t page, uint32_t count, bool write);
    void fill_zeros(uint32_t page, StreamDetector::Advice advice);
    void refill_lost(const Fault& fault);
    void allow_write(const Fault& fault);
    void now_written(uint32_t page);
    bool poll_store();
    void complete_read(uint32_t number);
    bool flush_frees();
    bool has_room(uint32_t pages) const { return map_.committed() + pages <= limit_pages_; }
    void note_peak();

    PageStore& store_;
    PagerOptions options_;
    uint32_t limit_pages_;
    std::unique_ptr<AddressSpace> space_;
    PageMap map_;
    ResidentQueue queue_;
    FreeList frees_;
    Reclaimer reclaimer_;
    StreamDetector streams_, write_streams_;
    std::deque<Fault> faults_;
    std::unique_ptr<std::byte[]> buffers_;
    std::array<ReadSlot, kSingleSlots + kRunSlots> slots_;
    std::vector<uint32_t> free_single_slots_, free_run_slots_;
    uint32_t turns_since_flush_ = 0;
    PagerStats stats_{};
};

}  // namespace lagan::client::pager
