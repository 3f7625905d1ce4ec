// SPDX-License-Identifier: BSD-3-Clause
// QPN → queue pair. Lcores look up without a lock; the control thread adds and removes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "datapath/qp_attributes.h"

struct rte_rcu_qsbr;

namespace lagan {

struct Qp;

class QpTable {
  public:
    // `capacity` QPs at a time (a power of two, at most 2^16). QPNs carry a generation above the index bits, so that a
    // number is not used again soon after its QP has gone.
    QpTable(uint32_t capacity, rte_rcu_qsbr* rcu);
    ~QpTable();

    // Control thread. 0 when the table is full. The number stays taken until release_qpn() or destroy().
    uint32_t allocate_qpn();
    void release_qpn(uint32_t qpn);

    // Control thread. Makes the QP with attributes.qpn visible to lcores, ready to receive and to send. `lcore` (an
    // engine's index) owns it from then on. Throws std::bad_alloc.
    Qp& create(const QpAttributes& attributes, uint32_t engine);

    // Control thread. Invisible at once; freed in reap() after a grace period, by which time its lcore has let go of it.
    void destroy(uint32_t qpn);
    void reap();

    // Any lcore, or the control thread. Null for an unknown number.
    Qp* find(uint32_t qpn) const;

    uint32_t size() const;
};

}  // namespace lagan
