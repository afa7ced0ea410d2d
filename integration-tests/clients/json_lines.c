#include "json_lines.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void (*handle_command)(const char *op, JsonObject *command);
static void (*handle_end)(void);

JsonBuilder *json_lines_begin(const char *kind)
{
    JsonBuilder *builder = json_builder_new();
    json_builder_begin_object(builder);
    json_lines_text(builder, "event", kind);
    return builder;
}

void json_lines_text(JsonBuilder *builder, const char *name, const char *value)
{
    json_builder_set_member_name(builder, name);
    if (value == NULL) {
        json_builder_add_null_value(builder);
        return;
    }
    /* What a peer sent need not be UTF-8, and what is printed must be. */
    char *valid = g_utf8_make_valid(value, -1);
    json_builder_add_string_value(builder, valid);
    g_free(valid);
}

void json_lines_flag(JsonBuilder *builder, const char *name, gboolean value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_boolean_value(builder, value);
}

void json_lines_number(JsonBuilder *builder, const char *name, gint64 value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_int_value(builder, value);
}

void json_lines_end(JsonBuilder *builder)
{
    json_builder_end_object(builder);
    JsonNode *root = json_builder_get_root(builder);
    char *line = json_to_string(root, FALSE);
    puts(line);
    fflush(stdout);
    g_free(line);
    json_node_unref(root);
    g_object_unref(builder);
}

void json_lines_event(const char *kind, ...)
{
    JsonBuilder *builder = json_lines_begin(kind);
    va_list pairs;
    va_start(pairs, kind);
    for (const char *name = va_arg(pairs, const char *); name != NULL; name = va_arg(pairs, const char *)) {
        json_lines_text(builder, name, va_arg(pairs, const char *));
    }
    va_end(pairs);
    json_lines_end(builder);
}

const char *json_lines_text_of(JsonObject *command, const char *name)
{
    return json_object_get_string_member_with_default(command, name, NULL);
}

gint64 json_lines_number_of(JsonObject *command, const char *name)
{
    return json_object_get_int_member_with_default(command, name, 0);
}

gboolean json_lines_flag_of(JsonObject *command, const char *name)
{
    return json_object_get_boolean_member_with_default(command, name, FALSE);
}

static void take_line(const char *line)
{
    GError *fault = NULL;
    JsonNode *root = json_from_string(line, &fault);
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        json_lines_event("refused", "command", line, "why", fault != NULL ? fault->message : "not an object", NULL);
        g_clear_error(&fault);
    } else {
        JsonObject *command = json_node_get_object(root);
        const char *op = json_lines_text_of(command, "op");
        handle_command(op != NULL ? op : "", command);
    }
    if (root != NULL) {
        json_node_unref(root);
    }
}

static gboolean readable(GIOChannel *channel, G_GNUC_UNUSED GIOCondition condition, G_GNUC_UNUSED gpointer data)
{
    char *line = NULL;
    gsize end = 0;
    GIOStatus status = g_io_channel_read_line(channel, &line, NULL, &end, NULL);
    if (status == G_IO_STATUS_NORMAL) {
        line[end] = '\0';
        take_line(line);
        g_free(line);
        return G_SOURCE_CONTINUE;
    }
    if (status == G_IO_STATUS_AGAIN) {
        return G_SOURCE_CONTINUE;
    }
    handle_end();
    return G_SOURCE_REMOVE;
}

static GLogWriterOutput write_log(GLogLevelFlags level, const GLogField *fields, gsize count, gpointer data)
{
    /* What happens while a warning is printed must not print another one. */
    static gboolean printing = FALSE;
    if ((level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING)) != 0 && !printing) {
        const char *message = NULL;
        const char *library = NULL;
        for (gsize field = 0; field < count; field++) {
            if (g_str_equal(fields[field].key, "MESSAGE")) {
                message = fields[field].value;
            } else if (g_str_equal(fields[field].key, "GLIB_DOMAIN")) {
                library = fields[field].value;
            }
        }
        printing = TRUE;
        json_lines_event("warning", "library", library, "text", message, NULL);
        printing = FALSE;
    }
    return g_log_writer_default(level, fields, count, data);
}

void json_lines_listen(void (*handle)(const char *op, JsonObject *command), void (*at_end)(void))
{
    handle_command = handle;
    handle_end = at_end;
    g_log_writer_default_set_use_stderr(TRUE);
    g_log_set_writer_func(write_log, NULL, NULL);
    GIOChannel *input = g_io_channel_unix_new(0);
    g_io_channel_set_encoding(input, NULL, NULL);
    g_io_channel_set_buffer_size(input, 1 << 20);
    g_io_channel_set_flags(input, G_IO_FLAG_NONBLOCK, NULL);
    g_io_add_watch(input, G_IO_IN | G_IO_HUP | G_IO_ERR, readable, NULL);
    g_io_channel_unref(input);
}
