// SPDX-License-Identifier: BSD-3-Clause
// `lagan run`: an unmodified program with its heap in far memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/page_store.h"

namespace lagan::client::run {

struct RunOptions {
    uint64_t local_memory_bytes = uint64_t{64} << 20;
    uint64_t region_bytes = uint64_t{1} << 30;
    bool whole_region = false;  // take all of the region that OpenStore connects to; region_bytes is not used
    bool progress = false;
    bool prefetch = true;
    // Set by run(): true when the program has ended, or there is a signal for it. What waits for the
    // appliance returns then.
    std::function<bool()> interrupted;
    std::string stats_file;            // JSON, written at the end; empty: none
    std::string preload_path;          // liblagan_preload.so; empty: looked for beside this executable
    std::vector<std::string> program;  // name and arguments
};

// Connects to far memory of at least `region_bytes`. Called when the program is known to be startable, once.
// What it throws ends the run, with its message. Destroying what it returns ends the connection.
using OpenStore = std::function<std::shared_ptr<PageStore>(const RunOptions&)>;

// Runs the program to its end. Returns the exit status for the command (the program's own, or
// attach_message.h's). Prints to standard error: what went wrong, one line; or the figures, one line. Call
// from the main thread, with no other thread running.
int run(const RunOptions& options, const OpenStore& open_store);

}  // namespace lagan::client::run
