// SPDX-License-Identifier: BSD-3-Clause
// Whether a frame still holds what was stored in it.
#pragma once

#include "datapath/memory/frame_pool.h"

namespace lagan {

// Reads the whole page (under a microsecond) and compares it with the CRCs that were kept when it was stored.
// The caller is inside an RCU read-side section and has loaded the frame from a page table: it is constant.
bool frame_is_intact(memory::FramePool& frames, memory::FrameIndex frame);

}  // namespace lagan
