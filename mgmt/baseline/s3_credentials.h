// SPDX-License-Identifier: BSD-3-Clause
// The keys for an S3 service. They go to libcurl and nowhere else.
#pragma once

#include <filesystem>
#include <string>

namespace lagan::baseline {

struct S3Credentials {
    std::string access_key;
    std::string secret_key;
    std::string session_token;  // may be empty
};

// From lines "access_key = ...", "secret_key = ..." and "session_token = ..." of a file that only its owner
// can read, or, without a file, from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
// AWS_SESSION_TOKEN. Throws StoreError, whose text holds no part of the content.
S3Credentials load_credentials(const std::filesystem::path& file);

}  // namespace lagan::baseline
