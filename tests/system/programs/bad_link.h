// SPDX-License-Identifier: BSD-3-Clause
// One direction of a bad link: what it does to frames, and what is on its way.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <map>
#include <random>

namespace lagan::test {

// Each chance is a share of the frames, 0 to 1.
struct Disturbance {
    double drop = 0;
    double duplicate = 0;
    double reorder = 0;  // held back for reorder_us more than the others
    double corrupt = 0;  // one bit behind the Ethernet header is flipped
    uint64_t delay_us = 0;
    uint64_t reorder_us = 200;
};

struct Counts {
    uint64_t received = 0, sent = 0, dropped = 0, duplicated = 0, reordered = 0, corrupted = 0;
    uint64_t cut = 0;   // came while the link was cut
    uint64_t lost = 0;  // not sent for want of an mbuf, or of room in the other port's ring
};

// Takes frames in at one port and sends them out at another when they are due. One thread.
class Direction {
  public:
    Direction(uint16_t from_port, uint16_t to_port, rte_mempool& copies, const Disturbance& disturbance,
              uint64_t seed);
    ~Direction();
    Direction(const Direction&) = delete;
    Direction& operator=(const Direction&) = delete;

    // One turn; the number of frames that came or went. `cut`: whatever comes is lost.
    uint32_t poll(uint64_t now_us, bool cut);

    const Counts& counts() const { return counts_; }

  private:
    bool happens(double chance) { return std::uniform_real_distribution<double>(0, 1)(random_) < chance; }
    void take(rte_mbuf* frame, uint64_t now_us);
    void corrupt(rte_mbuf& frame);
    uint32_t send_due(uint64_t now_us);

    const uint16_t from_port_, to_port_;
    rte_mempool& copies_;
    const Disturbance disturbance_;
    std::mt19937_64 random_;
    std::multimap<uint64_t, rte_mbuf*> on_the_way_;  // by when they are due; equal keys keep their order
    Counts counts_;
};

}  // namespace lagan::test
