// SPDX-License-Identifier: BSD-3-Clause
#include "tests/system/programs/bad_link.h"

#include <rte_ethdev.h>

#include <vector>

namespace lagan::test {

inline constexpr uint16_t kBurst = 32;

Direction::Direction(uint16_t from_port, uint16_t to_port, rte_mempool& copies,
                     const Disturbance& disturbance, uint64_t seed)
    : from_port_(from_port), to_port_(to_port), copies_(copies), disturbance_(disturbance), random_(seed) {}

Direction::~Direction() {
    for (const auto& [due_us, frame] : on_the_way_)
        rte_pktmbuf_free(frame);
}

// The Ethernet header is spared: nothing but the port's own FCS guards it, and ARP behind it not even that.
void Direction::corrupt(rte_mbuf& frame) {
    auto* bytes = rte_pktmbuf_mtod(&frame, uint8_t*);
    constexpr uint32_t kEthernetBytes = RTE_ETHER_HDR_LEN;
    const bool is_arp = bytes[12] == 0x08 && bytes[13] == 0x06;
    if (is_arp || frame.data_len <= kEthernetBytes) return;
    const uint64_t bit = random_() % ((frame.data_len - kEthernetBytes) * 8ULL);
    bytes[kEthernetBytes + bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    counts_.corrupted++;
}

void Direction::take(rte_mbuf* frame, uint64_t now_us) {
    const Disturbance& d = disturbance_;
    if (happens(d.drop)) {
        counts_.dropped++;
        return rte_pktmbuf_free(frame);
    }
    const uint64_t due_us = now_us + d.delay_us;
    if (happens(d.duplicate)) {
        if (rte_mbuf* twin = rte_pktmbuf_copy(frame, &copies_, 0, UINT32_MAX); twin != nullptr) {
            on_the_way_.emplace(due_us + d.reorder_us, twin);
            counts_.duplicated++;
        }
    }
    if (happens(d.corrupt)) corrupt(*frame);
    const bool late = happens(d.reorder);
    counts_.reordered += late;
    on_the_way_.emplace(due_us + (late ? d.reorder_us : 0), frame);
}

uint32_t Direction::send_due(uint64_t now_us) {
    std::vector<rte_mbuf*> due;
    auto end = on_the_way_.begin();
    for (; end != on_the_way_.end() && end->first <= now_us && due.size() < kBurst; ++end)
        due.push_back(end->second);
    on_the_way_.erase(on_the_way_.begin(), end);
    const uint16_t sent = rte_eth_tx_burst(to_port_, 0, due.data(), static_cast<uint16_t>(due.size()));
    counts_.sent += sent;
    counts_.lost += due.size() - sent;  // nobody is connected, or too slow
    rte_pktmbuf_free_bulk(due.data() + sent, static_cast<unsigned>(due.size() - sent));
    return static_cast<uint32_t>(due.size());
}

uint32_t Direction::poll(uint64_t now_us, bool cut) {
    rte_mbuf* frames[kBurst];
    const uint16_t count = rte_eth_rx_burst(from_port_, 0, frames, kBurst);
    counts_.received += count;
    for (uint16_t i = 0; i < count; i++) {
        if (!cut) {
            take(frames[i], now_us);
            continue;
        }
        counts_.cut++;
        rte_pktmbuf_free(frames[i]);
    }
    return count + send_due(now_us);
}

}  // namespace lagan::test
