/* The control protocol, both sides. The input is packets, each behind its size (two bytes, the low one first) and the
 * number of descriptors that come with it (one byte): as requests to a process that runs the crate in the file that
 * $CRATE names, each of which must have an answer that the client understands; and as an answer. Nothing may be left
 * open. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/client_answer.h"
#include "loader/control_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DESCRIPTORS_MAX = 3 };

/* Takes the next packet off the input; false: there is none. */
static bool next_packet(struct span *input, struct span *ret, unsigned *descriptors)
{
    if (input->size < 3)
        return false;
    size_t size = input->data[0] | (size_t)input->data[1] << 8;
    *descriptors = input->data[2] % (DESCRIPTORS_MAX + 1);
    *ret = (struct span){input->data + 3, size < input->size - 3 ? size : input->size - 3};
    *input = (struct span){ret->data + ret->size, input->size - 3 - ret->size};
    return true;
}

/* The lowest number that no descriptor has. */
static int lowest_free(void)
{
    int fd = fcntl(STDIN_FILENO, F_DUPFD, 0);
    close(fd);
    return fd;
}

static void make_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
}

/* Takes the answer that is in the socket, which nobody writes to any more; whether it has an end. */
static bool take_answer(int fd, bool has_crates)
{
    struct client_crates crates = {0};
    struct control_report report;
    struct client_answer answer = {.crates = has_crates ? &crates : NULL};
    struct crateld_error *error = client_receive(1, fd, &answer, &report);
    enum crateld_error_code code = error ? crateld_error_code(error) : CRATELD_ERROR_MISMATCH;
    crateld_error_destroy(error);
    client_crates_deinit(&crates);
    close(fd);
    return code == CRATELD_ERROR_MISMATCH || code == CRATELD_ERROR_UNDEFINED; /* what the process answered */
}

static void send_answer(int fd, struct span packet, unsigned descriptors)
{
    int rights[DESCRIPTORS_MAX] = {STDIN_FILENO, STDIN_FILENO, STDIN_FILENO};
    _Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof rights)] = {0};
    struct iovec part = {(void *)packet.data, packet.size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptors) {
        message.msg_control = space;
        message.msg_controllen = CMSG_SPACE(descriptors * sizeof *rights);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(descriptors * sizeof *rights);
        memcpy(CMSG_DATA(header), rights, descriptors * sizeof *rights);
    }
    (void)!sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The input as what a process answers. */
static void answer(struct span input, bool has_crates)
{
    int pair[2];
    struct span packet;
    unsigned descriptors;
    make_pair(pair);
    while (next_packet(&input, &packet, &descriptors))
        send_answer(pair[0], packet, descriptors);
    close(pair[0]);
    take_answer(pair[1], has_crates);
}

/* The input as what clients ask of the process. */
static void ask(struct process *process, struct span input)
{
    struct trace *trace = NULL;
    struct span packet;
    unsigned descriptors;
    while (next_packet(&input, &packet, &descriptors)) {
        int pair[2];
        char *copy = malloc(packet.size ? packet.size : 1); /* the first byte beyond is seen by AddressSanitizer */
        if (!copy)
            abort();
        if (packet.size)
            memcpy(copy, packet.data, packet.size);
        make_pair(pair);
        control_answer(process, pair[0], &trace, copy, packet.size);
        close(pair[0]);
        if (!take_answer(pair[1], true))
            abort();
        free(copy);
    }
    trace_destroy(trace);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span input = {data, size};
    struct process process;
    struct loaded_crate *crate;
    const char *path = getenv("CRATE");
    int before = lowest_free();
    process_init(&process, NULL);
    if (path)
        crateld_error_destroy(process_load(&process, path, &crate));
    ask(&process, input);
    process_deinit(&process);
    answer(input, true);
    answer(input, false);
    if (lowest_free() != before)
        abort();
    return 0;
}
