// SPDX-License-Identifier: BSD-3-Clause
// Far memory for one run: a region of its own, made now and deleted with the last reference; or a region
// that is there, which has to be empty and is emptied again.
#pragma once

#include <memory>

#include "client/page_store.h"
#include "client/target.h"

namespace lagan::client::run {

// Throws std::runtime_error with one line for people.
std::shared_ptr<PageStore> open_appliance_store(const TargetOptions& options);

}  // namespace lagan::client::run
