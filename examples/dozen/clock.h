/* How often the clock was asked, for what it is worth. */
#pragma once

int clock_asked(void);
