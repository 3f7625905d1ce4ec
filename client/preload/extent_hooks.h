// SPDX-License-Identifier: BSD-3-Clause
// Points jemalloc at the far mapping.
#pragma once

namespace lagan::client::preload {

class FarMapping;

// Every arena that exists takes its memory from `mapping` from now on. `mapping` must live for ever. Ends the
// program with one line if its allocator is not jemalloc.
void install_extent_hooks(FarMapping& mapping);

}  // namespace lagan::client::preload
