// SPDX-License-Identifier: BSD-3-Clause
// Far memory for one run: a region of its own at an appliance on this machine, made now and deleted with the
// last reference.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "client/page_store.h"

namespace lagan::client::run {

// Starts DPDK's environment in this process. Throws std::runtime_error with one line for people.
std::shared_ptr<PageStore> open_appliance_store(const std::filesystem::path& node_socket,
                                                uint64_t region_bytes);

}  // namespace lagan::client::run
