// SPDX-License-Identifier: BSD-3-Clause
// QPs that have something to go on with get a turn each: READ responses, capsules, our own requests,
// acknowledgements. lagan: hot-path
#include <algorithm>

#include "datapath/capsule_server.h"
#include "datapath/poll_loop.h"
#include "datapath/puller.h"
#include "datapath/roce/requester.h"
#include "datapath/roce/responder.h"
#include "datapath/transmit.h"

namespace lagan {

inline constexpr uint32_t kMaxTurns = 64;   // per iteration
inline constexpr uint32_t kReadSlice = 16;  // response packets per turn: a long READ cannot starve other QPs
inline constexpr uint32_t kRequestSlice = 32;   // request packets per turn
inline constexpr uint32_t kCapsuleSlice = 512;  // pages per turn
inline constexpr uint32_t kTimersPerPoll = 64;
inline constexpr uint32_t kWakesPerPoll = 16;

static bool answers_capsules(const Engine& engine, const Qp& qp) {
    return engine.options.serve_capsules && qp.serves_capsules;
}

static uint32_t take_turn(Engine& engine, Qp& qp) {
    qp.frozen = roce::is_frozen(engine, qp);
    if (qp.frozen) [[unlikely]] {
        engine.park(qp);
        return 0;
    }
    uint32_t work = roce::serve_replies(engine, qp, kReadSlice);
    if (answers_capsules(engine, qp) && serve_capsules(engine, qp, kCapsuleSlice)) work++;
    work += roce::send_requests(engine, qp, kRequestSlice);
    roce::flush_acknowledgement(engine, qp);
    return work;
}

static bool has_more(Engine& engine, Qp& qp) {
    const Responder& r = qp.responder;
    if (qp.frozen) return false;
    // Behind a READ that waits for its pages everything that has to be answered in order waits as well.
    if (!r.parked && (r.replies_due() || r.ack_due || r.nak_due != 0)) return true;
    if (answers_capsules(engine, qp) && capsules_can_go_on(qp)) return true;
    return roce::can_send(qp);
}

uint32_t serve_active(Engine& engine) {
    uint32_t work = 0;
    uint32_t turns = std::min<uint32_t>(static_cast<uint32_t>(engine.active.size()), kMaxTurns);
    for (; turns != 0 && !engine.active.empty(); turns--) {
        if (engine.active_cursor >= engine.active.size()) engine.active_cursor = 0;
        Qp& qp = *engine.active[engine.active_cursor];
        work += take_turn(engine, qp);
        if (has_more(engine, qp)) {
            engine.active_cursor++;
        } else {
            qp.active = false;
            engine.active[engine.active_cursor] = engine.active.back();
            engine.active.pop_back();
        }
    }
    // Another QP comes first next time: the first ones may fill the tx batch.
    if (engine.active_cursor >= engine.active.size()) engine.active_cursor = 0;
    engine.active_cursor++;
    return work;
}

uint32_t serve_pullers(Engine& engine) {
    uint32_t work = 0;
    for (size_t i = engine.pullers.size(); i-- > 0;)  // backwards: one that ends takes itself out
        work += engine.pullers[i]->serve(engine);
    return work;
}

// Of all QPs with a READ that waits for pages, or without a lease, a few get a turn, so that there may be any
// number of them. The others go on as they would without.
void wake_parked(Engine& engine) {
    uint32_t wakes = std::min<uint32_t>(static_cast<uint32_t>(engine.parked.size()), kWakesPerPoll);
    for (; wakes != 0; wakes--) {
        if (engine.parked_cursor >= engine.parked.size()) engine.parked_cursor = 0;
        Qp& qp = *engine.parked[engine.parked_cursor];
        if (qp.responder.parked) {
            engine.parked_cursor++;
            engine.activate(qp);
        } else {  // it has gone on
            qp.parked = false;
            engine.parked[engine.parked_cursor] = engine.parked.back();
            engine.parked.pop_back();
            if (engine.parked.empty()) return;
        }
    }
}

void check_all_timers(Engine& engine) {
    uint32_t checks = std::min<uint32_t>(static_cast<uint32_t>(engine.timed.size()), kTimersPerPoll);
    for (; checks != 0; checks--) {
        if (engine.timed_cursor >= engine.timed.size()) engine.timed_cursor = 0;
        Qp& qp = *engine.timed[engine.timed_cursor];
        if (roce::check_timers(engine, qp)) {
            engine.timed_cursor++;
        } else {
            qp.timed = false;
            engine.timed[engine.timed_cursor] = engine.timed.back();
            engine.timed.pop_back();
            if (engine.timed.empty()) return;
        }
    }
}

}  // namespace lagan
