/* Programs that are driven by JSON lines: commands on standard input, events on standard output, on glib's main loop. */
#ifndef JSON_LINES_H
#define JSON_LINES_H

#include <glib.h>
#include <json-glib/json-glib.h>

/* Prints {"event": kind, name: value, ...}, one line. The list of pairs ends with NULL; a value that is NULL prints as null. */
void json_lines_event(const char *kind, ...) G_GNUC_NULL_TERMINATED;

/* Begins an event with more than texts in it; json_lines_end prints it. */
JsonBuilder *json_lines_begin(const char *kind);
void json_lines_text(JsonBuilder *builder, const char *name, const char *value);
void json_lines_flag(JsonBuilder *builder, const char *name, gboolean value);
void json_lines_number(JsonBuilder *builder, const char *name, gint64 value);
void json_lines_end(JsonBuilder *builder);

/* A member of a command; NULL, 0 or FALSE when it is absent. */
const char *json_lines_text_of(JsonObject *command, const char *name);
gint64 json_lines_number_of(JsonObject *command, const char *name);
gboolean json_lines_flag_of(JsonObject *command, const char *name);

/* From now on each line of standard input is handed to `handle`, and its end to `at_end`, which leaves the main loop. Each
   warning, criticism or error that any library logs by glib becomes an event "warning"; everything goes to standard error. */
void json_lines_listen(void (*handle)(const char *op, JsonObject *command), void (*at_end)(void));

#endif
