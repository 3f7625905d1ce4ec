// SPDX-License-Identifier: BSD-3-Clause
// How much of everything: memory for pages and where it lies, mbufs, frames held back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "appliance/options.h"
#include "datapath/engine.h"

namespace lagan::appliance {

struct ArenaPlan {
    std::filesystem::path directory;
    uint64_t frame_bytes;  // 0: what the arena that is there has
    std::string reason;    // one line for the log
};

// Follows [memory]; "auto" is three quarters of what is available. Two appliances of different names on one
// machine get different directories. Throws std::runtime_error when there is no room, or huge pages were
// asked for and are not there.
ArenaPlan plan_arena(const Options& options);

// Pools of one of `engine_count` engines. Small appliances get small ones, so that frames held by packets in
// flight stay a small part of the memory.
EngineOptions size_engine(const Options& options, uint64_t frame_count, uint32_t engine_count);

// Frames that regions cannot count on: in flight to ports, waiting for a grace period, or being filled.
uint64_t slack_frames(const EngineOptions& engine, uint32_t engine_count);

// Frames kept for checkpoints, which must keep pages as they were while stores go on; 0 when none are made.
uint64_t cut_frames(const Options& options, uint64_t frame_count);
// Of these, what one checkpoint holds at once on its way to the store.
uint32_t frames_in_flight(uint64_t cut_frames);

// Memory that EAL needs for the pools of so many engines, and for drivers.
uint64_t eal_memory_bytes(const EngineOptions& engine, uint32_t engine_count);

}  // namespace lagan::appliance
