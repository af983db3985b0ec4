/* As a server ("serve"): prints the ports of two listeners, and forgets what it accepts in one function, and closes what
   it accepts in another. As a client ("fetch PORT PORT"): forgets what it connects to the one, and closes what it connects
   to the other. "deep" calls the former from below a deep stack. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OWN __attribute__((noinline, noclone))
/* Keeps a call from being the last thing that a function does, which compilers make a jump of. */
#define STAY __asm__ volatile("" ::: "memory")

static int listen_on_loopback(int *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 128) ||
        getsockname(listener, (struct sockaddr *)&at, &size))
        exit(1);
    *port = ntohs(at.sin_port);
    return listener;
}

static int connect_to_loopback(int port) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int socket_of_mine = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(socket_of_mine, (struct sockaddr *)&to, sizeof to)) exit(1);
    STAY;
    return socket_of_mine;
}

OWN static void read_to_the_end(int connection) {
    char bytes[256];
    while (read(connection, bytes, sizeof bytes) > 0) STAY;
}

OWN static void take_and_forget(int listener) {
    int connection = accept(listener, NULL, NULL);
    read_to_the_end(connection);
    STAY;
}

OWN static void take_and_close(int listener) {
    int connection = accept(listener, NULL, NULL);
    read_to_the_end(connection);
    close(connection);
    STAY;
}

OWN static void fetch_and_forget(int port) {
    int connection = connect_to_loopback(port);
    read_to_the_end(connection);
    STAY;
}

OWN static void fetch_and_close(int port) {
    int connection = connect_to_loopback(port);
    read_to_the_end(connection);
    close(connection);
    STAY;
}

OWN static void go_down(int levels, int port) {
    char room[512];
    memset(room, levels, sizeof room);
    if (levels == 0)
        fetch_and_forget(port);
    else
        go_down(levels - 1, port);
    __asm__ volatile("" ::"r"(room) : "memory");
}

OWN static void serve(void) {
    int ports[2];
    struct pollfd both[2];
    for (int i = 0; i < 2; i++) both[i] = (struct pollfd){listen_on_loopback(&ports[i]), POLLIN, 0};
    printf("%d %d\n", ports[0], ports[1]);
    fflush(stdout);
    while (poll(both, 2, -1) > 0) {
        if (both[0].revents) take_and_forget(both[0].fd);
        if (both[1].revents) take_and_close(both[1].fd);
    }
}

OWN static void fetch(int leaking, int closing, int levels) {
    puts("0 0");
    fflush(stdout);
    for (;;) {
        if (levels)
            go_down(levels, leaking);
        else
            fetch_and_forget(leaking);
        fetch_and_close(closing);
        usleep(50000);
    }
}

int main(int count, char **words) {
    if (count > 3)
        fetch(atoi(words[2]), atoi(words[3]), strcmp(words[1], "deep") ? 0 : 16);
    else
        serve();
    return 0;
}
