// SPDX-License-Identifier: BSD-3-Clause
// Puts a page together in an unpublished frame while a WRITE message brings its bytes, and publishes it
// whole: a reader sees the old page or the new one, whatever the path MTU. Bytes of the page that the message
// does not bring are taken from the old page at publication. All functions: the QP's owner lcore, inside its
// RCU read-side section. lagan: hot-path
#pragma once

#include "datapath/engine.h"
#include "datapath/memory/region.h"

namespace lagan::roce {

// The builder holds a frame for `page`, filled up to `offset` or empty from there on. False: no frame left.
bool start_page(Engine& engine, Qp& qp, uint64_t page, uint32_t offset);

// Appends verified bytes.
void append_to_page(Engine& engine, Qp& qp, const uint8_t* from, uint32_t bytes);

// Copies whole 1 KiB blocks behind the builder's end, keeps their CRCs, and returns the ICRC state behind
// them. Does not move the end: the caller does, once the ICRC has proved right.
uint32_t copy_blocks(Engine& engine, Qp& qp, const uint8_t* from, uint32_t bytes, uint32_t icrc_state);

// Fills in what is missing, publishes the page (or makes it absent if it is all zeros), and leaves the
// builder empty. The caller has checked that the retire queue has room.
Refusal publish_built_page(Engine& engine, Qp& qp, memory::Region& region);

// For an atomic: the bytes that the page gets at `offset`, and one attempt to publish it over `old`, from
// which the rest of it comes. `changed`: another lcore was faster, `old` is what is there now. Published: the
// builder is empty.
void replace_in_page(Engine& engine, Qp& qp, uint32_t offset, const void* from, uint32_t bytes);
memory::PublishResult publish_over(Engine& engine, Qp& qp, memory::Region& region, memory::Pte& old);

// The same for a page that the message has brought whole, but published only with the others of its burst.
// (Publication is an atomic operation, which waits until all bytes copied past the caches have reached
// memory: once for a burst.) `psn` is that of the packet in hand, which is not counted in the MSN yet.
void stage_built_page(Engine& engine, Qp& qp, memory::Region& region, uint32_t psn);

// Publishes what is staged, oldest first. A QP whose page finds no frame in the budget is refused, and none
// of what it stored behind that page is published. Called at the end of each burst, and before anything that
// could see or acknowledge a staged page.
void publish_staged_pages(Engine& engine);

}  // namespace lagan::roce
