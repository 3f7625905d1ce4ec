// SPDX-License-Identifier: BSD-3-Clause
// Bearer tokens. The directory has their SHA-256 only: who reads it cannot use them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mgmt/cluster/directory.h"
#include "mgmt/cluster/records.h"

namespace lagan::cluster {

struct NewToken {
    std::string text;  // secret; told once, and nowhere kept
    TokenRecord record;
};

// Any thread; DirectoryError passes through.
class Tokens {
  public:
    explicit Tokens(Directory& directory) : directory_(directory) {}

    NewToken create(const std::string& name, TokenRole role, const std::string& tenant, uint64_t now_ms);
    // Whose token this is. Nothing: nobody's.
    std::optional<TokenRecord> find(const std::string& text) const;
    // Whether it has not been removed since.
    bool is_there(const TokenRecord& token) const;
    std::vector<TokenRecord> list() const;
    // By hash, or the beginning of one that no other has. False: there is none.
    bool remove(const std::string& hash);

  private:
    Directory& directory_;
};

std::string sha256_hex(const std::string& text);

}  // namespace lagan::cluster
