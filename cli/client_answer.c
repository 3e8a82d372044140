#define _GNU_SOURCE
#include "cli/client_answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

void client_crates_deinit(struct client_crates *crates)
{
    for (size_t i = 0; i < crates->list.count; i++) {
        free(crates->list.at[i].name);
        free(crates->list.at[i].path);
        if (crates->list.at[i].fd >= 0)
            close(crates->list.at[i].fd);
    }
    free(crates->list.at);
    *crates = (struct client_crates){0};
}

/* One packet of the answer. */
struct packet {
    struct control_header header;
    char payload[CONTROL_MAX_SIZE];
    size_t size;
    int fd; /* owned; -1: none came */
};

/* Takes the first of the descriptors that came; there is room for an even number of them. */
static void take_descriptor(struct msghdr *message, int *ret)
{
    const struct cmsghdr *rights = CMSG_FIRSTHDR(message);
    if (!rights || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS)
        return;
    for (size_t i = 0; CMSG_LEN((i + 1) * sizeof *ret) <= rights->cmsg_len; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(rights) + i * sizeof fd, sizeof fd);
        if (i)
            close(fd);
        else
            *ret = fd;
    }
}

static struct crateld_error *receive(pid_t id, int fd, struct packet *ret)
{
    struct iovec parts[] = {{&ret->header, sizeof ret->header}, {ret->payload, sizeof ret->payload}};
    _Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof ret->fd)];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = space, .msg_controllen = sizeof space};
    ret->fd = -1;
    ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (got >= 0) /* an empty packet may bring some as well */
        take_descriptor(&message, &ret->fd);
    if (got < 0)
        return error_errno(errno, "process %d: no answer", (int)id);
    if (!got)
        return error_create(CRATELD_ERROR_IO, "process %d: has ended, or does not talk to this user", (int)id);
    if ((size_t)got < sizeof ret->header || message.msg_flags & MSG_TRUNC || ret->header.magic != CONTROL_MAGIC)
        return error_create(CRATELD_ERROR_FORMAT, "process %d: an answer that is none", (int)id);
    ret->size = (size_t)got - sizeof ret->header;
    if (ret->header.kind == CONTROL_ERROR)
        return error_create(CRATELD_ERROR_MISMATCH, "%.*s", (int)ret->size, ret->payload);
    if (ret->header.kind == CONTROL_INCOMPLETE)
        return error_create(CRATELD_ERROR_UNDEFINED, "%.*s", (int)ret->size, ret->payload);
    if (ret->header.version != CONTROL_VERSION)
        return error_create(CRATELD_ERROR_MISMATCH, "process %d: speaks version %u of the control protocol, wanted %d",
                            (int)id, ret->header.version, CONTROL_VERSION);
    return NULL;
}

static struct crateld_error *add_crate(pid_t id, struct packet *packet, struct client_crates *crates)
{
    struct client_crate crate = {.fd = packet->fd};
    packet->fd = -1;
    size_t first = sizeof(struct control_crate);
    const char *name = packet->payload + first;
    size_t left = packet->size > first ? packet->size - first : 0, name_size = strnlen(name, left) + 1;
    bool is_good = name_size < left && !packet->payload[packet->size - 1];
    if (is_good) {
        struct control_crate record;
        memcpy(&record, packet->payload, sizeof record);
        memcpy(crate.build_id, record.build_id, sizeof crate.build_id);
        crate.is_patched = record.patch_count;
        crate.name = strdup(name);
        crate.path = strdup(name + name_size);
    }
    if (crate.name && crate.path && VEC_PUSH(&crates->list, crate)) // cppcheck-suppress memleak; the list owns them
        return NULL;                                                // cppcheck-suppress memleak
    free(crate.name);
    free(crate.path);
    if (crate.fd >= 0)
        close(crate.fd);
    return is_good
               ? error_memory()
               : error_create(CRATELD_ERROR_FORMAT, "process %d: says something unintelligible of a crate", (int)id);
}

struct crateld_error *client_receive(pid_t id, int fd, const struct client_answer *answer, struct control_report *ret)
{
    struct packet *packet AUTO_FREE = malloc(sizeof *packet);
    if (!packet)
        return error_memory();
    for (;;) {
        struct crateld_error *error = receive(id, fd, packet);
        if (!error && packet->header.kind == CONTROL_CRATE && answer->crates)
            error = add_crate(id, packet, answer->crates);
        if (!error && packet->header.kind == CONTROL_TEXT && answer->tell)
            answer->tell(packet->payload, packet->size);
        if (packet->fd >= 0)
            close(packet->fd);
        if (error)
            return error;
        if (packet->header.kind != CONTROL_DONE)
            continue;
        memset(ret, 0, sizeof *ret);
        memcpy(ret, packet->payload, packet->size < sizeof *ret ? packet->size : sizeof *ret);
        return NULL;
    }
}
