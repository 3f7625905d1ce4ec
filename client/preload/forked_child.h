// SPDX-License-Identifier: BSD-3-Clause
// Children that fork() makes have no far mapping. One that touches its heap ends with a line that says why.
#pragma once

namespace lagan::client::preload {

class FarMapping;

// Every child that fork() makes from now on gets a handler of SIGSEGV, in front of the program's own, which
// keeps what is none of ours: a fault elsewhere, a signal that somebody sent. A handler that the child
// installs itself takes its place. `mapping` must live for ever.
void watch_forked_children(FarMapping& mapping);

}  // namespace lagan::client::preload
