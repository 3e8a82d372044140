/* A server on a port of this machine: answers each line, by a handler that is in a module of its own. Prints its port.
 */
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX = 64 };

int handle(const char *request, int size, char *answer, int room);

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct pollfd wanted[MAX] = {{.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN}};
    int count = 1;
    if (bind(wanted[0].fd, (struct sockaddr *)&address, sizeof address) || listen(wanted[0].fd, MAX) ||
        getsockname(wanted[0].fd, (struct sockaddr *)&address, &length))
        return EXIT_FAILURE;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        if (poll(wanted, (nfds_t)count, -1) < 0)
            return EXIT_FAILURE;
        for (int i = count - 1; i > 0; i--) {
            char request[256], answer[256];
            ssize_t size = wanted[i].revents ? read(wanted[i].fd, request, sizeof request) : -1;
            if (size > 0 && write(wanted[i].fd, answer, (size_t)handle(request, (int)size, answer, sizeof answer)) > 0)
                continue;
            if (wanted[i].revents) {
                close(wanted[i].fd);
                wanted[i] = wanted[--count];
            }
        }
        if (wanted[0].revents && count < MAX)
            wanted[count++] = (struct pollfd){.fd = accept(wanted[0].fd, NULL, NULL), .events = POLLIN};
    }
}
