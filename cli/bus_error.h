/* SIGBUS from a mapped file, which somebody cut short or which its disk can not deliver, as an error message. */
#ifndef CLI_BUS_ERROR_H
#define CLI_BUS_ERROR_H

/* From here on such a signal prints "crateld: FILE: …" and ends the process with EXIT_STATUS_FAILED. */
void bus_error_install(void);

#endif
