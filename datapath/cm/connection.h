// SPDX-License-Identifier: BSD-3-Clause
// One connection as its manager keeps it. Control thread only.
#pragma once

#include <cstdint>
#include <functional>

#include "datapath/cm/connect_types.h"
#include "datapath/roce/cm_mad.h"

namespace lagan::cm {

//  active:  req_sent ──REP──► established ──► dreq_sent ──DREP──► time_wait ──► gone
//  passive: rep_sent ──RTU──► established ──DREQ──────────────► time_wait
enum class State : uint8_t { req_sent, rep_sent, established, dreq_sent, time_wait };

struct Connection {
    uint32_t local_id = 0;   // communication ids
    uint32_t remote_id = 0;  // 0 until the peer has told it
    uint64_t remote_guid = 0;
    uint64_t transaction = 0;
    State state = State::req_sent;
    bool active = false;
    bool has_qp = false;  // created and not destroyed yet
    bool had_qp = false;  // created: destroying it has given the number back, or will
    uint32_t engine = 0;
    QpAttributes attributes;

    // The message that is sent again each interval_us until it is answered.
    roce::Mad message{};
    uint64_t interval_us = 0;
    uint32_t tries_left = 0;
    uint32_t extensions_left = 0;  // MRAs that are still honoured
    uint64_t deadline_us = 0;      // 0: no timer runs

    uint64_t confirm_by_us = 0;  // passive: whatever the peer asks for, it is given up then without an RTU

    ConnectCallback connected;           // active, until it has been called
    std::function<void()> disconnected;  // of disconnect()
};

}  // namespace lagan::cm
