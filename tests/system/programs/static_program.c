// SPDX-License-Identifier: BSD-3-Clause
// Has no interpreter, so nothing can be preloaded into it.
int main(void) {
    return 0;
}
