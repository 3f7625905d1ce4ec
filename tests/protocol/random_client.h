// SPDX-License-Identifier: BSD-3-Clause
// One connection that does random things to its own stripe of a region, many at a time, and knows what must
// come of each.
//
// What RC promises, and what is therefore checked: requests take effect in the order of posting, once; a READ
// sees all WRITEs posted before it. What it does not: a READ (or a capsule, which is carried out some time
// after it has arrived) may also see what is posted later, before it is complete; such bytes of a READ are
// not looked at.
#pragma once

#include <list>
#include <random>

#include "tests/protocol/model.h"
#include "tests/support/loopback.h"

namespace lagan::test {

struct RandomLimits {
    uint32_t max_bytes = 1 << 20;
    uint32_t max_outstanding = 16;
    bool may_fail = false;  // the disturbance can use up all retries
};

// Done operations by kind; capsules count when their reply has come.
struct Tally {
    uint64_t reads = 0, writes = 0, atomics = 0, frees = 0, queries = 0, infos = 0, failures = 0;
    uint64_t write_bytes = 0;

    uint64_t capsules() const { return frees + queries + infos; }
    uint64_t ended() const { return reads + writes + atomics + capsules() + failures; }
    Tally& operator+=(const Tally& other) {
        reads += other.reads;
        writes += other.writes;
        atomics += other.atomics;
        frees += other.frees;
        queries += other.queries;
        infos += other.infos;
        failures += other.failures;
        write_bytes += other.write_bytes;
        return *this;
    }
};

class RandomClient {
  public:
    // All clients of a region share both models: `posted` is what will be when all that is posted is done,
    // `committed` what is known to be done.
    RandomClient(Loopback& link, memory::Region& region, uint64_t begin, uint64_t end, Model& posted,
                 Model& committed, const RandomLimits& limits);

    bool post_one();  // false: no room, or an outstanding FREE is in the way
    // From within the poll loop; looked at by check_results().
    void complete(uint64_t cookie, roce::WorkStatus status) { completions_.push_back({cookie, status}); }
    void check_results();
    bool idle() const { return outstanding_.empty(); }
    bool failed() const { return failed_; }
    // For people: what is outstanding, and the state of both queue pairs.
    std::string describe() const;
    const Qp* qp() const { return pair_.client; }

    // After a failure: what was outstanding is done or not, byte by byte, and nothing else; then a new
    // connection.
    void recover();

    Tally tally;

  private:
    enum class Kind : uint8_t { read, write, atomic, free, query, info };  // from free on: capsules
    struct Op {
        Kind kind;
        uint64_t cookie;
        uint64_t offset;
        uint32_t bytes;
        Bytes data;      // WRITE: source; atomic: what it leaves; READ: destination and a guard behind it
        Bytes expected;  // READ, atomic: what it finds
        uint64_t found;  // atomic: destination
        std::vector<std::pair<uint64_t, uint64_t>> unknown;  // READ: [from, to) that later operations change
        bool completed = false;                              // acknowledged, or failed
        bool replied = false;  // capsules: the reply may overtake the acknowledgement
    };

    bool overlaps(const Op& op, uint64_t offset, uint64_t bytes) const;
    bool free_in_the_way(uint64_t offset, uint64_t bytes) const;
    void blur_reads(uint64_t offset, uint64_t bytes);
    uint32_t random_length();
    bool post_read(Op op);
    bool post_write(Op op);
    bool post_atomic(Op op);
    bool post_free(Op op);
    bool post_query(Op op);
    bool send(const void* capsule, uint32_t bytes, uint64_t cookie);
    void check_read(const Op& op) const;
    void check_atomic(const Op& op) const;
    void take_completion(uint64_t cookie, roce::WorkStatus status);
    void take_reply(const MessageRing::Message& message);
    void finish(std::list<Op>::iterator op);

    Loopback& link_;
    memory::Region& region_;
    const uint64_t begin_, end_;
    Model& posted_;
    Model& committed_;
    const RandomLimits limits_;
    Loopback::Pair pair_;
    std::list<Op> outstanding_;  // in the order of posting; the requester knows where their destinations are
    std::vector<CompletionLog::Entry> completions_;
    uint64_t next_cookie_ = 1;
    bool failed_ = false;
};

}  // namespace lagan::test
