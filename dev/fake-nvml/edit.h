/* Changes the text file, so that every process that reads it sees the same machine. */
#ifndef FAKE_NVML_EDIT_H
#define FAKE_NVML_EDIT_H

#include "line.h"

/*
 * Decides about one line: `line` is it, taken apart; `text` is it as it stands, which may be changed in place.
 * Returns 1 to keep it, 0 to drop it.
 */
typedef int (*line_editor)(struct line *line, char text[LINE_LENGTH], const void *wanted);

/* Rewrite the file: every line through `edit`, then `addition` behind the last one. Returns 0, or -1 if refused. */
int rewrite_file(line_editor edit, const void *wanted, const char *addition);

#endif
