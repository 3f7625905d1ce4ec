// SPDX-License-Identifier: BSD-3-Clause
#include "client/run/program.h"

#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <system_error>

#include "client/pager/attach_message.h"

namespace lagan::client::run {

using pager::Descriptor;

namespace {

constexpr std::array kForwarded = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

bool is_file(const std::string& path) {
    struct stat info {};
    return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

std::string search(const std::string& name) {
    if (name.find('/') != std::string::npos) {
        if (is_file(name)) return name;
        throw StartError(pager::kExitNotFound, name + ": no such program");
    }
    const char* variable = std::getenv("PATH");
    std::string_view directories = variable ? variable : "/usr/local/bin:/usr/bin:/bin";
    std::string found;
    while (!name.empty()) {
        const size_t end = directories.find(':');
        const std::string_view directory = directories.substr(0, end);
        const std::string path = (directory.empty() ? "." : std::string(directory)) + "/" + name;
        if (is_file(path)) {
            if (access(path.c_str(), X_OK) == 0) return path;
            if (found.empty()) found = path;
        }
        if (end == std::string_view::npos) break;
        directories.remove_prefix(end + 1);
    }
    if (found.empty()) throw StartError(pager::kExitNotFound, name + ": no such program in PATH");
    return found;  // not executable, which the caller says
}

template <typename T>
bool read_at(int fd, T& to, uint64_t offset) {
    return pread(fd, &to, sizeof to, static_cast<off_t>(offset)) == static_cast<ssize_t>(sizeof to);
}

// What the preload library has been built for, as this program has.
uint16_t own_machine() {
    const Descriptor self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    Elf64_Ehdr header{};
    if (!self || !read_at(self.get(), header, 0)) {
        throw std::system_error(errno, std::generic_category(), "/proc/self/exe");
    }
    return header.e_machine;
}

// A program without an interpreter (ld.so) has nobody to load the preload library.
bool has_interpreter(int fd, const Elf64_Ehdr& header) {
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr segment{};
        if (!read_at(fd, segment, header.e_phoff + uint64_t{i} * header.e_phentsize)) return false;
        if (segment.p_type == PT_INTERP) return true;
    }
    return false;
}

// ld.so ignores LD_PRELOAD for a program that has more rights than who starts it.
void check_gains_no_rights(const std::string& path) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) return;  // exec will say
    if (((info.st_mode & S_ISUID) != 0 && info.st_uid != geteuid()) ||
        ((info.st_mode & S_ISGID) != 0 && info.st_gid != getegid())) {
        throw StartError(pager::kExitNotExecutable,
                         path +
                             ": is set-user-ID or set-group-ID, which ignores the preload library: "
                             "run it as its owner");
    }
    // Root has them anyway.
    if (getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
        throw StartError(pager::kExitNotExecutable,
                         path +
                             ": has file capabilities, which ignores the preload library: run a copy of it "
                             "without them (cp drops them), or run it as root");
    }
}

void check_can_preload(const std::string& path) {
    check_gains_no_rights(path);
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    Elf64_Ehdr header{};
    // Executable but not readable: exec will say. Not an ELF file: a script.
    if (!file || !read_at(file.get(), header, 0) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return;
    if (header.e_ident[EI_CLASS] != ELFCLASS64) {
        throw StartError(pager::kExitNotExecutable, path + ": is not a 64-bit program");
    }
    const uint16_t machine = own_machine();
    if (header.e_machine != machine) {
        throw StartError(pager::kExitNotExecutable,
                         path + ": is for another processor architecture (ELF machine " +
                             std::to_string(header.e_machine) + ", here it is " + std::to_string(machine) +
                             "): the preload library cannot be loaded into it");
    }
    if (!has_interpreter(file.get(), header)) {
        throw StartError(pager::kExitNotExecutable,
                         path + ": is statically linked; its heap cannot be redirected");
    }
}

std::array<Descriptor, 2> make_pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    return {Descriptor(ends[0]), Descriptor(ends[1])};
}

// The child waits for its environment (variables, each ended by a zero byte, until the pipe is closed after a
// final byte 1).
bool receive_environment(int from) {
    std::string text;
    std::array<char, 4096> part;
    ssize_t got;
    while ((got = read(from, part.data(), part.size())) > 0)
        text.append(part.data(), static_cast<size_t>(got));
    if (got < 0 || text.empty() || text.back() != '\1') return false;
    for (size_t at = 0; at + 1 < text.size();) {
        const size_t end = text.find('\0', at);
        if (end == std::string::npos) return false;
        const size_t equals = text.find('=', at);
        setenv(text.substr(at, equals - at).c_str(), text.substr(equals + 1, end - equals - 1).c_str(), 1);
        at = end + 1;
    }
    return true;
}

[[noreturn]] void run_child(const std::string& path, const std::vector<std::string>& arguments, pid_t parent,
                            const sigset_t& mask, int go, int error) {
    // Without its pager the program must not go on (it would wait, or worse, see zeros).
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || !receive_environment(go)) _exit(pager::kExitLaganFailed);
    setenv(pager::kProgramVariable, std::to_string(getpid()).c_str(), 1);
    std::vector<char*> argv;
    for (const std::string& argument : arguments)
        argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    sigprocmask(SIG_SETMASK, &mask, nullptr);
    execv(path.c_str(), argv.data());
    const int why = errno;
    [[maybe_unused]] const ssize_t told = write(error, &why, sizeof why);
    _exit(pager::kExitNotExecutable);
}

}  // namespace

std::string find_program(const std::string& name) {
    std::string path = search(name);
    if (access(path.c_str(), X_OK) != 0) {
        throw StartError(pager::kExitNotExecutable, path + ": not executable by this user");
    }
    check_can_preload(path);
    return path;
}

Program::Program(std::string path, std::vector<std::string> arguments) : path_(std::move(path)) {
    sigset_t forwarded, before;
    sigemptyset(&forwarded);
    for (const int number : kForwarded)
        sigaddset(&forwarded, number);
    sigprocmask(SIG_BLOCK, &forwarded, &before);
    signals_ = Descriptor(signalfd(-1, &forwarded, SFD_CLOEXEC | SFD_NONBLOCK));

    auto [go_out, go_in] = make_pipe();
    auto [error_out, error_in] = make_pipe();
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid_ == 0) {
        go_in.reset();
        run_child(path_, arguments, parent, before, go_out.get(), error_in.get());
    }
    signal(SIGPIPE, SIG_IGN);  // a child that has been killed early shows as an error of write()
    go_ = std::move(go_in);
    error_ = std::move(error_out);
    pidfd_ = Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    if (!pidfd_) throw std::system_error(errno, std::generic_category(), "pidfd_open");
}

Program::~Program() {
    if (pid_ > 0 && !ended_) {
        kill();
        wait();
    }
}

void Program::execute(const std::vector<std::string>& variables) {
    std::string text;
    for (const std::string& variable : variables)
        text += variable + '\0';
    text += '\1';
    for (size_t done = 0; done < text.size();) {
        const ssize_t wrote = write(go_.get(), text.data() + done, text.size() - done);
        if (wrote < 0) throw std::system_error(errno, std::generic_category(), "the child has ended early");
        done += static_cast<size_t>(wrote);
    }
    go_.reset();
    int why = 0;
    if (read(error_.get(), &why, sizeof why) == static_cast<ssize_t>(sizeof why)) {
        throw StartError(why == ENOENT ? pager::kExitNotFound : pager::kExitNotExecutable,
                         path_ + ": " + std::generic_category().message(why));
    }
}

bool Program::has_ended() const {
    pollfd descriptor = {pidfd_.get(), POLLIN, 0};
    return poll(&descriptor, 1, 0) > 0;
}

bool Program::wants_attention() const {
    std::array<pollfd, 2> descriptors{{{pidfd_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}}};
    return poll(descriptors.data(), descriptors.size(), 0) > 0;
}

void Program::forward_signals() {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        // From the terminal: the program is in the same group and has had it itself.
        if (info.ssi_code == SI_KERNEL) continue;
        ::kill(pid_, static_cast<int>(info.ssi_signo));
    }
}

void Program::kill() {
    ::kill(pid_, SIGKILL);
}

int Program::wait() {
    while (!ended_) {
        if (waitpid(pid_, &status_, 0) == pid_ || errno != EINTR) ended_ = true;
    }
    return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
}

}  // namespace lagan::client::run
