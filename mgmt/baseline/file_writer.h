// SPDX-License-Identifier: BSD-3-Clause
// Writes the content of a new file, whole and durable.
#pragma once

#include <span>

#include "mgmt/baseline/file_calls.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

// Writes `content` to the empty file and syncs it. Past the page cache if all pieces begin and end on pages
// and the file system can: then no byte is copied by a CPU. Returns 0 or an errno value; then the file's
// content is unknown, whatever later calls say, and it has to be removed.
int write_file(FileCalls& calls, int fd, std::span<const Bytes> content);

}  // namespace lagan::baseline
