// SPDX-License-Identifier: BSD-3-Clause
// Makes checkpoints of one region in a store.
//
//   BaselineWriter writer(store, identity);
//   // per checkpoint: any number of threads write segments, then one thread commits them
//   refs.push_back(writer.write_segment(pages));
//   CommitResult result = writer.commit(refs, cut_number, cut_time_us);
//
// Until commit() returns, the previous cut is what a reader sees, at whatever instant anything dies. The last
// two cuts can be restored.
//
// Opening claims the baseline: a new manifest with the old cut and a new session. From then on nobody who
// opened it before can commit; they get ErrorKind::refused. A claim with a lower epoch than the newest
// manifest's is refused, as is one with another writer at the same epoch.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "mgmt/baseline/baseline.h"
#include "mgmt/baseline/live_map.h"
#include "mgmt/baseline/manifest.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

struct WriterOptions {
    // More than this share of all stored data being dead makes commit() compact. 0.5: a baseline takes up to
    // twice the room of what is alive.
    double dead_share_limit = 0.5;
    // Live data that one commit() rewrites at most, or as much as the checkpoint itself wrote if that is
    // more.
    uint64_t compaction_bytes = 64U << 20;
    // Begins anew: what is stored is taken for worthless, and the next commit must bring every page of the
    // region. For a baseline whose segments or newest manifest are damaged; its cuts stay restorable, as far
    // as they were, until two commits later. Identity and epoch are checked all the same.
    bool start_over = false;
    // Temporary files and uploads of dead writers are removed when they are older than this.
    std::chrono::seconds unfinished_age{3600};
};

struct CommitResult {
    uint64_t manifest_number = 0;
    uint64_t compacted_bytes = 0;   // live data rewritten
    uint64_t removed_segments = 0;  // objects removed from the store
    // Found by compaction: pages whose stored copy has been corrupted. The region's memory has them still:
    // mark them dirty, so that the next checkpoint stores them again.
    std::vector<Loss> losses;
    // What cleaning up could not remove, and why; tried again by the next commit. Empty if all went well.
    std::string cleanup_problem;
};

struct WriterStats {
    uint64_t live_bytes = 0;    // data pages of the newest cut
    uint64_t stored_bytes = 0;  // segments of the newest manifest
    uint64_t segments = 0;
    uint64_t written_bytes = 0;  // by this writer, compaction included
    uint64_t compacted_bytes = 0;
    uint64_t commits = 0;
};

class BaselineWriter {
  public:
    // Claims the baseline of region.name and loads its page index: about 4 bytes of memory per page. The
    // store outlives the writer. Throws StoreError:
    //   refused  a newer epoch, another writer at this epoch, another region's uid or size
    //   damaged  the newest manifest or a segment's index: see WriterOptions::start_over
    //   invalid  written by a newer version
    BaselineWriter(ObjectStore& store, RegionIdentity region, WriterOptions options = {});
    ~BaselineWriter();
    BaselineWriter(const BaselineWriter&) = delete;
    BaselineWriter& operator=(const BaselineWriter&) = delete;

    // Any thread. Writes pages (ascending by number, at most kMaxSegmentEntries of them and kMaxSegmentPages
    // with data) straight from their memory, and trusts their CRCs. Durable on return, but part of no cut
    // before commit(). Pages whose data are 4096-byte aligned spare the directory engine a copy.
    SegmentRef write_segment(std::span<const StoredPage> pages);

    // One thread at a time, beside no write_segment(). All pages that changed since the last commit are in
    // `segments` (with start_over: all pages of the region). cut_number is at least the newest cut's. After
    // ErrorKind::unavailable it may be called again with the same arguments; the cut is then done once.
    // ErrorKind::refused: another writer has claimed the baseline.
    CommitResult commit(std::span<const SegmentRef> segments, uint64_t cut_number, uint64_t cut_time_us);

    // Instead of commit(), and like it beside no write_segment(): removes the segments written since the last
    // commit, as far as that can be done now.
    void give_up() noexcept;

    // Any thread. The newest manifest: its cut is what would be restored. A reader's business is
    // BaselineReader's.
    Manifest newest() const;
    WriterStats stats() const;

  private:
    // The page index and the segments that it points at. Ordinals only grow.
    struct State {
        LiveMap live;
        std::map<uint32_t, SegmentRef> segments;  // by ordinal, so in order
        uint32_t next_ordinal = 1;
    };
    struct PendingPage {
        uint64_t page;
        bool data;
    };
    static std::vector<PendingPage> pending_of(std::span<const StoredPage> pages);
    class Attempt;    // one commit() on its way
    struct Unknown {  // one that failed, or got no answer: its manifest may be the newest
        Manifest manifest;
        std::vector<SegmentRef> segments;
    };

    void load_state();
    SegmentRef write(std::span<const StoredPage> pages);
    void settle_unknown();
    bool publish_again(std::span<const SegmentRef> segments, uint64_t cut_number);
    void add(Attempt& attempt, std::span<const SegmentRef> segments);
    void compact(Attempt& attempt);
    void rewrite(Attempt& attempt, std::span<const uint32_t> victims);
    Manifest next_manifest(uint64_t cut_number, uint64_t cut_time_us) const;
    void refuse_if_superseded(uint64_t number);
    void publish(const Manifest& next, std::span<const SegmentRef> segments);
    void adopt(Manifest next, std::span<const SegmentRef> segments);
    std::string clean_up(uint64_t* removed);

    ObjectStore& store_;
    const RegionIdentity region_;
    const WriterOptions options_;
    const uint64_t session_;
    std::atomic<uint64_t> next_sequence_{1};
    std::atomic<uint64_t> written_bytes_{0};

    // The committing thread's.
    State state_;
    std::optional<Unknown> unknown_;
    // newest_ was found in the store, but nobody has said that it is durable: the segments that it committed.
    std::optional<std::vector<SegmentRef>> doubtful_;
    std::set<uint64_t> manifests_;     // numbers that are in the store
    std::vector<Loss> untold_losses_;  // found by a commit that failed afterwards
    std::set<uint32_t> unreadable_;    // segments (ordinals) that compaction found damaged and leaves alone

    mutable std::mutex mutex_;  // for all below
    Manifest newest_;
    std::optional<Manifest> previous_;  // the newest of an earlier cut
    std::set<SegmentId> stored_;        // segments in the store, or half written, that are ours to remove
    std::map<SegmentId, std::vector<PendingPage>> pending_;  // written, not committed
    uint64_t compacted_bytes_ = 0;
    uint64_t commits_ = 0;
};

}  // namespace lagan::baseline
