// SPDX-License-Identifier: BSD-3-Clause
// lagan: hot-path
#include "datapath/roce/page_builder.h"

#include <immintrin.h>

#include <cstring>

#include "datapath/roce/crc32.h"
#include "datapath/roce/responder.h"

namespace lagan::roce {

using memory::FrameMeta;
using memory::kBlockBytes;
using memory::kBlocksPerPage;
using memory::kPageBytes;

inline constexpr uint32_t kAllBlocks = (1U << kBlocksPerPage) - 1;

bool start_page(Engine& engine, Qp& qp, uint64_t page, uint32_t offset) {
    PageBuilder& builder = qp.responder.builder;
    if (builder.frame == memory::kNoFrame) {
        builder.frame = engine.shared.frames->allocate();
        if (builder.frame == memory::kNoFrame) [[unlikely]]
            return false;
    } else if (builder.to != builder.from) {
        return true;  // the message goes on in this page
    }
    // A frame left over from a packet that proved wrong is used again.
    builder.page = page;
    builder.from = builder.to = offset;
    builder.known_crcs = 0;
    return true;
}

void append_to_page(Engine& engine, Qp& qp, const uint8_t* from, uint32_t bytes) {
    PageBuilder& builder = qp.responder.builder;
    std::memcpy(engine.shared.frames->data(builder.frame) + builder.to, from, bytes);
    builder.to += bytes;
}

uint32_t copy_blocks(Engine& engine, Qp& qp, const uint8_t* from, uint32_t bytes, uint32_t icrc_state) {
    PageBuilder& builder = qp.responder.builder;
    std::byte* to = engine.shared.frames->data(builder.frame) + builder.to;
    FrameMeta& meta = engine.shared.frames->meta(builder.frame);
    uint32_t block = builder.to / kBlockBytes;
    for (uint32_t done = 0; done < bytes; done += kBlockBytes, block++) {
        meta.block_crc[block] = copy_crc32_block_nt(to + done, from + done);
        icrc_state = crc32_shift(icrc_state, kBlockBytes) ^ meta.block_crc[block];
        builder.known_crcs |= 1U << block;
    }
    return icrc_state;
}

// Takes the bytes that the message did not bring from the page as it is now. False: that page is damaged.
static bool fill_from_old_page(Engine& engine, PageBuilder& builder, memory::Pte old) {
    std::byte* data = engine.shared.frames->data(builder.frame);
    if (old == memory::kAbsent) {
        std::memset(data, 0, builder.from);
        std::memset(data + builder.to, 0, kPageBytes - builder.to);
        return true;
    }
    if ((old & memory::kPtePoisoned) != 0) return false;
    const std::byte* from = engine.shared.frames->data(memory::pte_frame(old));
    std::memcpy(data, from, builder.from);
    std::memcpy(data + builder.to, from + builder.to, kPageBytes - builder.to);
    return true;
}

static void complete_crcs(Engine& engine, const PageBuilder& builder) {
    FrameMeta& meta = engine.shared.frames->meta(builder.frame);
    const std::byte* data = engine.shared.frames->data(builder.frame);
    uint32_t page_crc = 0;
    for (uint32_t block = 0; block < kBlocksPerPage; block++) {
        if ((builder.known_crcs & (1U << block)) == 0)
            meta.block_crc[block] = crc32_raw(0, data + block * kBlockBytes, kBlockBytes);
        page_crc = crc32_shift(page_crc, kBlockBytes) ^ meta.block_crc[block];
    }
    meta.page_crc = page_crc;
}

// Whether what was taken from the old page was still what had been stored there: it would get good CRCs now.
// Else the old page is poisoned. After complete_crcs().
static bool old_page_was_good(Engine& engine, const memory::Region& region, const PageBuilder& builder,
                              memory::Pte old) {
    if (old == memory::kAbsent) return true;
    memory::FramePool& frames = *engine.shared.frames;
    const memory::FrameIndex frame = memory::pte_frame(old);
    const FrameMeta& before = frames.meta(frame);
    const FrameMeta& now = frames.meta(builder.frame);
    bool good = true;
    for (uint32_t block = 0; block < kBlocksPerPage; block++) {
        const uint32_t begin = block * kBlockBytes, end = begin + kBlockBytes;
        if (builder.from <= begin && builder.to >= end) continue;  // brought whole
        const bool kept_whole = builder.to <= begin || builder.from >= end;
        const uint32_t crc =
            kept_whole ? now.block_crc[block] : crc32_raw(0, frames.data(frame) + begin, kBlockBytes);
        good = good && crc == before.block_crc[block];
    }
    if (!good && memory::poison_page(region, builder.page, frame)) engine.note_damaged(region, builder.page);
    return good;
}

// A raw CRC of zeros is zero; only then are the bytes looked at.
static bool all_zero(Engine& engine, const PageBuilder& builder) {
    const FrameMeta& meta = engine.shared.frames->meta(builder.frame);
    for (uint32_t crc : meta.block_crc)
        if (crc != 0) return false;
    return std::memcmp(engine.shared.frames->data(builder.frame), engine.zero_page, kPageBytes) == 0;
}

void replace_in_page(Engine& engine, Qp& qp, uint32_t offset, const void* from, uint32_t bytes) {
    PageBuilder& builder = qp.responder.builder;
    builder.from = builder.to = offset;
    append_to_page(engine, qp, static_cast<const uint8_t*>(from), bytes);
}

memory::PublishResult publish_over(Engine& engine, Qp& qp, memory::Region& region, memory::Pte& old) {
    PageBuilder& builder = qp.responder.builder;
    fill_from_old_page(engine, builder, old);
    complete_crcs(engine, builder);
    if (!old_page_was_good(engine, region, builder, old)) {
        old = region.page_table[builder.page].load(std::memory_order_acquire);
        return memory::PublishResult::changed;
    }
    const auto result = memory::publish_page(region, *engine.shared.frames, *engine.retire(),
                                             *engine.shared.budget, builder.page, builder.frame, old);
    if (result == memory::PublishResult::published) {
        builder = {};
        engine.counters.pages_stored++;
    }
    return result;
}

Refusal publish_built_page(Engine& engine, Qp& qp, memory::Region& region) {
    PageBuilder& builder = qp.responder.builder;
    memory::FramePool& frames = *engine.shared.frames;
    const bool whole = builder.from == 0 && builder.to == kPageBytes;
    memory::Pte expected = region.page_table[builder.page].load(std::memory_order_acquire);
    auto result = memory::PublishResult::changed;
    do {  // again when another lcore has stored this page in between, or it was found damaged
        if (!whole && !fill_from_old_page(engine, builder, expected)) return Refusal::poisoned_page;
        complete_crcs(engine, builder);
        if (!whole && !old_page_was_good(engine, region, builder, expected)) [[unlikely]] {
            expected = region.page_table[builder.page].load(std::memory_order_acquire);
            continue;
        }
        if (all_zero(engine, builder) && (whole || expected == memory::kAbsent)) {
            // An absent page stays as it is: another lcore may store other bytes of it at this moment.
            if (expected != memory::kAbsent)
                memory::clear_page(region, *engine.retire(), *engine.shared.budget, builder.page);
            drop_page_builder(engine, qp);
            engine.counters.pages_zero++;
            return Refusal::none;
        }
        _mm_sfence();  // copy_blocks() stores past the caches: the bytes come before the entry
        result = memory::publish_page(region, frames, *engine.retire(), *engine.shared.budget, builder.page,
                                      builder.frame, expected);
    } while (result == memory::PublishResult::changed);
    if (result == memory::PublishResult::no_frames) return Refusal::no_frames;
    builder = {};
    engine.counters.pages_stored++;
    return Refusal::none;
}

void stage_built_page(Engine& engine, Qp& qp, memory::Region& region, uint32_t psn) {
    PageBuilder& builder = qp.responder.builder;
    complete_crcs(engine, builder);
    engine.staged[engine.staged_count++] = {.qp = &qp,
                                            .region = &region,
                                            .page = builder.page,
                                            .frame = builder.frame,
                                            .psn = psn,
                                            .msn = qp.responder.msn,
                                            .all_zero = all_zero(engine, builder)};
    qp.responder.has_staged_pages = true;
    builder = {};
}

// False: no frame left. The frame of a page that is not published goes back.
static bool publish_staged_page(Engine& engine, const StagedPage& staged) {
    memory::FramePool& frames = *engine.shared.frames;
    if (staged.all_zero) {
        memory::clear_page(*staged.region, *engine.retire(), *engine.shared.budget, staged.page);
        frames.release(staged.frame);
        engine.counters.pages_zero++;
        return true;
    }
    memory::Pte expected = staged.region->page_table[staged.page].load(std::memory_order_acquire);
    memory::PublishResult result;
    do {
        result = memory::publish_page(*staged.region, frames, *engine.retire(), *engine.shared.budget,
                                      staged.page, staged.frame, expected);
    } while (result == memory::PublishResult::changed);
    if (result == memory::PublishResult::published) {
        engine.counters.pages_stored++;
        return true;
    }
    frames.release(staged.frame);
    return false;
}

void publish_staged_pages(Engine& engine) {
    if (engine.staged_count == 0) return;
    _mm_sfence();
    for (uint32_t i = 0; i < engine.staged_count; i++) {
        const StagedPage& staged = engine.staged[i];
        Qp& qp = *staged.qp;
        qp.responder.has_staged_pages = false;
        if (qp.state == QpState::error) [[unlikely]] {
            engine.shared.frames->release(staged.frame);
        } else if (!publish_staged_page(engine, staged)) {
            qp.responder.msn = staged.msn;
            refuse(engine, qp, Refusal::no_frames, staged.psn);
        }
    }
    engine.staged_count = 0;
}

void drop_page_builder(Engine& engine, Qp& qp) {
    PageBuilder& builder = qp.responder.builder;
    if (builder.frame != memory::kNoFrame) engine.shared.frames->release(builder.frame);
    builder = {};
}

}  // namespace lagan::roce
