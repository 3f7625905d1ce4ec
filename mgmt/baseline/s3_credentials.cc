// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/s3_credentials.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "datapath/memory/mapped_file.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

namespace {

constexpr size_t kMaxBytes = 16384;

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::string trimmed(const std::string& text) {
    const size_t begin = text.find_first_not_of(" \t\r");
    return begin == text.npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

std::string read_private(const std::filesystem::path& file) {
    const memory::FileDescriptor fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info {};
    if (fd.get() < 0 || fstat(fd.get(), &info) != 0)
        throw StoreError(errno == ENOENT ? ErrorKind::missing : ErrorKind::refused,
                         "S3 credentials: cannot open " + file.string() + ": " + std::strerror(errno));
    if (!S_ISREG(info.st_mode) || (info.st_mode & 077) != 0)
        throw StoreError(ErrorKind::refused, "S3 credentials: others can read " + file.string() +
                                                 ", or it is no regular file: chmod 600 " + file.string());
    std::string text(kMaxBytes, '\0');
    const ssize_t bytes = read(fd.get(), text.data(), text.size());
    if (bytes < 0 || static_cast<size_t>(bytes) == kMaxBytes)
        throw StoreError(ErrorKind::invalid,
                         "S3 credentials: cannot read " + file.string() + ", or it is too long");
    text.resize(static_cast<size_t>(bytes));
    return text;
}

}  // namespace

S3Credentials load_credentials(const std::filesystem::path& file) {
    S3Credentials keys;
    if (file.empty()) {
        keys = {environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY"),
                environment("AWS_SESSION_TOKEN")};
        if (keys.access_key.empty() || keys.secret_key.empty())
            throw StoreError(
                ErrorKind::refused,
                "S3 credentials: none; name a file with credentials=, or set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY");
        return keys;
    }
    std::istringstream lines(read_private(file));
    int number = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        line = trimmed(line);
        if (line.empty() || line[0] == '#' || line[0] == '[') continue;  // "[default]" of other tools' files
        const size_t equals = line.find('=');
        std::string name = trimmed(line.substr(0, equals));
        if (name.starts_with("aws_")) name.erase(0, 4);
        std::string* const field = name == "access_key" || name == "access_key_id"       ? &keys.access_key
                                   : name == "secret_key" || name == "secret_access_key" ? &keys.secret_key
                                   : name == "session_token"                             ? &keys.session_token
                                                                                         : nullptr;
        if (equals == line.npos || field == nullptr)
            throw StoreError(ErrorKind::invalid,
                             "S3 credentials: line " + std::to_string(number) + " of " + file.string() +
                                 " is not access_key, secret_key or session_token = value");
        *field = trimmed(line.substr(equals + 1));
    }
    if (keys.access_key.empty() || keys.secret_key.empty())
        throw StoreError(ErrorKind::invalid,
                         "S3 credentials: " + file.string() + " needs access_key = ... and secret_key = ...");
    return keys;
}

}  // namespace lagan::baseline
