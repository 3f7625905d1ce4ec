// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/token_command.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>

#include "mgmt/cluster/tokens.h"

namespace lagan::cluster {

namespace {

constexpr size_t kIdLetters = 16;
constexpr int kRefused = 1;

int create(Tokens& tokens, const TokenCommand& command) {
    const auto role = role_from_text(command.role);
    if (!role) throw std::runtime_error("--role: must be viewer, tenant, operator or admin");
    if ((*role == TokenRole::tenant) == command.tenant.empty())
        throw std::runtime_error("--tenant: a token of the role tenant has one, others have none");
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
    const NewToken token = tokens.create(command.name, *role, command.tenant, static_cast<uint64_t>(now_ms));
    fmt::print("{}\n", token.text);
    return 0;
}

}  // namespace

int run_token_command(const ManagerOptions& options, const TokenCommand& command) {
    const auto directory = open_directory(options.directory);
    Tokens tokens(*directory);
    switch (command.what) {
        case TokenCommand::What::create:
            return create(tokens, command);
        case TokenCommand::What::list:
            for (const TokenRecord& token : tokens.list())
                fmt::print("{}  {:<8}  {}{}{}\n", token.hash.substr(0, kIdLetters), to_string(token.role),
                           token.name, token.tenant.empty() ? "" : "  tenant ", token.tenant);
            return 0;
        case TokenCommand::What::remove:
            if (command.id.size() >= kIdLetters && tokens.remove(command.id)) return 0;
            fmt::print(stderr, "lagan-mgmtd: there is no token {}\n", command.id);
            return kRefused;
        case TokenCommand::What::none:
            break;
    }
    return kRefused;
}

}  // namespace lagan::cluster
