/* A headless libpurple: one account on any of its protocols, driven by JSON lines (see json_lines.h).

   purple_client DIRECTORY: the directory is its own, for settings and contacts.

   Commands: {"op": ...}
     sign_on   protocol, username, password, options {name: text, number or flag}, contacts [address, ...],
               returns: whether it signs on again by itself, as Pidgin and Finch do, after an error that libpurple
               does not call fatal; they wait 8 seconds and more, this one half a second
     send      to, and text or html
     typing    to, active; or paused: there are words that are not sent, and no key is pressed
     leave     who: closes the conversation with him
     status    state (an id of the protocol, e.g. "busy"), note
     add, remove   who
     contacts  an event with all of them
     sign_off

   Events: {"event": ...}
     signed_on; signed_off; refused {command, why}
     connection_error {reason, text}
     message {from, text, html, chat, delayed, auto}
     shown {kind: "error" or "system", with, text}: what the protocol wrote into a conversation
     typing {from, state: "typing", "typed" or "stopped"}
     presence {who, state, online, available, note, line}: note is part of the state, line what the protocol writes below
       the contact's name, where some protocols have the note
     contacts {contacts: [{who, alias, group, and as in presence}, ...]}
     asked {title, text}: a question to the user; one for authorisation is answered yes
     notice {title, text}
     warning {library, text} */
#include <purple.h>

#include <signal.h>
#include <string.h>

#include "json_lines.h"

#define UI "interchange-test"

static GMainLoop *loop;
static PurpleAccount *account;
static gboolean returns;

#define RETURNS_AFTER_MILLISECONDS 500

/* ---- glib's main loop for libpurple */

typedef struct {
    PurpleInputFunction function;
    gpointer data;
} Watch;

static gboolean watch_fires(GIOChannel *channel, GIOCondition condition, gpointer data)
{
    Watch *watch = data;
    int ready = 0;
    if ((condition & (G_IO_IN | G_IO_HUP | G_IO_ERR)) != 0) {
        ready |= PURPLE_INPUT_READ;
    }
    if ((condition & (G_IO_OUT | G_IO_HUP | G_IO_ERR | G_IO_NVAL)) != 0) {
        ready |= PURPLE_INPUT_WRITE;
    }
    watch->function(watch->data, g_io_channel_unix_get_fd(channel), ready);
    return G_SOURCE_CONTINUE;
}

static guint watch_add(int descriptor, PurpleInputCondition wanted, PurpleInputFunction function, gpointer data)
{
    Watch *watch = g_new0(Watch, 1);
    watch->function = function;
    watch->data = data;
    GIOCondition condition = 0;
    if ((wanted & PURPLE_INPUT_READ) != 0) {
        condition |= G_IO_IN | G_IO_HUP | G_IO_ERR;
    }
    if ((wanted & PURPLE_INPUT_WRITE) != 0) {
        condition |= G_IO_OUT | G_IO_HUP | G_IO_ERR | G_IO_NVAL;
    }
    GIOChannel *channel = g_io_channel_unix_new(descriptor);
    guint source = g_io_add_watch_full(channel, G_PRIORITY_DEFAULT, condition, watch_fires, watch, g_free);
    g_io_channel_unref(channel);
    return source;
}

static PurpleEventLoopUiOps event_loop = {
    .timeout_add = g_timeout_add,
    .timeout_remove = g_source_remove,
    .input_add = watch_add,
    .input_remove = g_source_remove,
    .timeout_add_seconds = g_timeout_add_seconds,
};

/* ---- what the core shows */

/* As a window of Pidgin shows it: a line end in the mark-up is one to the eye too. */
static char *plain(const char *html)
{
    char **lines = g_strsplit(html, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_strchomp(*line);
    }
    char *joined = g_strjoinv("<br>", lines);
    char *stripped = purple_markup_strip_html(joined);
    g_strfreev(lines);
    g_free(joined);
    return stripped != NULL ? stripped : g_strdup("");
}

static void write_conversation(PurpleConversation *conversation, const char *name, G_GNUC_UNUSED const char *alias,
                               const char *message, PurpleMessageFlags flags, G_GNUC_UNUSED time_t at)
{
    char *text = plain(message);
    if ((flags & PURPLE_MESSAGE_RECV) != 0) {
        JsonBuilder *event = json_lines_begin("message");
        json_lines_text(event, "from", name);
        json_lines_text(event, "text", text);
        json_lines_text(event, "html", message);
        json_lines_flag(event, "chat", purple_conversation_get_type(conversation) == PURPLE_CONV_TYPE_CHAT);
        json_lines_flag(event, "delayed", (flags & PURPLE_MESSAGE_DELAYED) != 0);
        json_lines_flag(event, "auto", (flags & PURPLE_MESSAGE_AUTO_RESP) != 0);
        json_lines_end(event);
    } else if ((flags & (PURPLE_MESSAGE_ERROR | PURPLE_MESSAGE_SYSTEM)) != 0) {
        const char *kind = (flags & PURPLE_MESSAGE_ERROR) != 0 ? "error" : "system";
        json_lines_event("shown", "kind", kind, "with", purple_conversation_get_name(conversation), "text", text, NULL);
    }
    g_free(text);
}

static PurpleConversationUiOps conversations = { .write_conv = write_conversation };

static void *asked(const char *title, const char *primary, const char *secondary)
{
    char *text = g_strjoin(" ", primary != NULL ? primary : "", secondary != NULL ? secondary : "", NULL);
    json_lines_event("asked", "title", title, "text", text, NULL);
    g_free(text);
    return &account;
}

static void *ask_input(const char *title, const char *primary, const char *secondary, G_GNUC_UNUSED const char *value,
                       G_GNUC_UNUSED gboolean multiline, G_GNUC_UNUSED gboolean masked, G_GNUC_UNUSED gchar *hint,
                       G_GNUC_UNUSED const char *yes, G_GNUC_UNUSED GCallback on_yes, G_GNUC_UNUSED const char *no,
                       G_GNUC_UNUSED GCallback on_no, G_GNUC_UNUSED PurpleAccount *of, G_GNUC_UNUSED const char *who,
                       G_GNUC_UNUSED PurpleConversation *conversation, G_GNUC_UNUSED void *data)
{
    return asked(title, primary, secondary);
}

static void *ask_action(const char *title, const char *primary, const char *secondary, G_GNUC_UNUSED int action,
                        G_GNUC_UNUSED PurpleAccount *of, G_GNUC_UNUSED const char *who,
                        G_GNUC_UNUSED PurpleConversation *conversation, G_GNUC_UNUSED void *data, G_GNUC_UNUSED size_t count,
                        G_GNUC_UNUSED va_list actions)
{
    return asked(title, primary, secondary);
}

static void *ask_fields(const char *title, const char *primary, const char *secondary, G_GNUC_UNUSED PurpleRequestFields *fields,
                        G_GNUC_UNUSED const char *yes, G_GNUC_UNUSED GCallback on_yes, G_GNUC_UNUSED const char *no,
                        G_GNUC_UNUSED GCallback on_no, G_GNUC_UNUSED PurpleAccount *of, G_GNUC_UNUSED const char *who,
                        G_GNUC_UNUSED PurpleConversation *conversation, G_GNUC_UNUSED void *data)
{
    return asked(title, primary, secondary);
}

static PurpleRequestUiOps requests = { .request_input = ask_input, .request_action = ask_action, .request_fields = ask_fields };

static void *authorize(G_GNUC_UNUSED PurpleAccount *of, const char *who, G_GNUC_UNUSED const char *id,
                       G_GNUC_UNUSED const char *alias, G_GNUC_UNUSED const char *message, G_GNUC_UNUSED gboolean on_list,
                       PurpleAccountRequestAuthorizationCb yes, G_GNUC_UNUSED PurpleAccountRequestAuthorizationCb no, void *data)
{
    json_lines_event("asked", "title", "authorisation", "text", who, NULL);
    yes(data);
    return NULL;
}

static PurpleAccountUiOps accounts = { .request_authorize = authorize };

static void *notify(G_GNUC_UNUSED PurpleNotifyMsgType kind, const char *title, const char *primary, const char *secondary)
{
    char *text = g_strjoin(" ", primary != NULL ? primary : "", secondary != NULL ? secondary : "", NULL);
    json_lines_event("notice", "title", title, "text", text, NULL);
    g_free(text);
    return &account;
}

static PurpleNotifyUiOps notices = { .notify_message = notify };

static void print_debug(PurpleDebugLevel level, const char *category, const char *text)
{
    g_printerr("%d %s: %s", level, category != NULL ? category : "", text);
}

static gboolean debug_is_on(G_GNUC_UNUSED PurpleDebugLevel level, G_GNUC_UNUSED const char *category)
{
    return TRUE;
}

static PurpleDebugUiOps debugging = { .print = print_debug, .is_enabled = debug_is_on };

/* ---- signals */

static const char *note_of(PurplePresence *presence)
{
    return purple_status_get_attr_string(purple_presence_get_active_status(presence), "message");
}

/* What a window shows below the name. */
static char *line_of(PurpleBuddy *buddy)
{
    PurplePluginProtocolInfo *protocol = PURPLE_PLUGIN_PROTOCOL_INFO(purple_find_prpl(purple_account_get_protocol_id(account)));
    return protocol->status_text != NULL && purple_account_is_connected(account) ? protocol->status_text(buddy) : NULL;
}

static void presence_fields(JsonBuilder *event, PurpleBuddy *buddy)
{
    char *line = line_of(buddy);
    PurplePresence *presence = purple_buddy_get_presence(buddy);
    json_lines_text(event, "who", purple_buddy_get_name(buddy));
    json_lines_text(event, "state", purple_status_get_id(purple_presence_get_active_status(presence)));
    json_lines_flag(event, "online", purple_presence_is_online(presence));
    json_lines_flag(event, "available", purple_presence_is_available(presence));
    json_lines_text(event, "note", note_of(presence));
    json_lines_text(event, "line", line);
    g_free(line);
}

static void on_presence(PurpleBuddy *buddy)
{
    JsonBuilder *event = json_lines_begin("presence");
    presence_fields(event, buddy);
    json_lines_end(event);
}

static void on_status_changed(PurpleBuddy *buddy, G_GNUC_UNUSED PurpleStatus *old, G_GNUC_UNUSED PurpleStatus *new)
{
    on_presence(buddy);
}

static void on_typing(G_GNUC_UNUSED PurpleAccount *of, const char *who, const char *state)
{
    json_lines_event("typing", "from", who, "state", state, NULL);
}

static void on_signed_on(G_GNUC_UNUSED PurpleConnection *connection)
{
    json_lines_event("signed_on", NULL);
}

static void on_signed_off(G_GNUC_UNUSED PurpleConnection *connection)
{
    json_lines_event("signed_off", NULL);
}

static gboolean sign_on_again(G_GNUC_UNUSED gpointer data)
{
    if (purple_account_is_disconnected(account)) {
        purple_account_connect(account);
    }
    return G_SOURCE_REMOVE;
}

static void on_connection_error(G_GNUC_UNUSED PurpleConnection *connection, PurpleConnectionError reason, const char *text)
{
    static const char *const names[] = {
        "network", "invalid-username", "authentication-failed", "authentication-impossible", "no-ssl", "encryption",
        "name-in-use", "invalid-settings", "certificate-not-provided", "certificate-untrusted", "certificate-expired",
        "certificate-not-activated", "certificate-hostname-mismatch", "certificate-fingerprint-mismatch",
        "certificate-self-signed", "certificate-other",
    };
    json_lines_event("connection_error", "reason", reason < G_N_ELEMENTS(names) ? names[reason] : "other", "text", text, NULL);
    if (returns && !purple_connection_error_is_fatal(reason)) {
        g_timeout_add(RETURNS_AFTER_MILLISECONDS, sign_on_again, NULL);
    }
}

static void connect_signals(void)
{
    static int here;
    void *connections = purple_connections_get_handle();
    purple_signal_connect(connections, "signed-on", &here, PURPLE_CALLBACK(on_signed_on), NULL);
    purple_signal_connect(connections, "signed-off", &here, PURPLE_CALLBACK(on_signed_off), NULL);
    purple_signal_connect(connections, "connection-error", &here, PURPLE_CALLBACK(on_connection_error), NULL);
    void *contacts = purple_blist_get_handle();
    purple_signal_connect(contacts, "buddy-signed-on", &here, PURPLE_CALLBACK(on_presence), NULL);
    purple_signal_connect(contacts, "buddy-signed-off", &here, PURPLE_CALLBACK(on_presence), NULL);
    purple_signal_connect(contacts, "buddy-status-changed", &here, PURPLE_CALLBACK(on_status_changed), NULL);
    void *open = purple_conversations_get_handle();
    purple_signal_connect(open, "buddy-typing", &here, PURPLE_CALLBACK(on_typing), "typing");
    purple_signal_connect(open, "buddy-typed", &here, PURPLE_CALLBACK(on_typing), "typed");
    purple_signal_connect(open, "buddy-typing-stopped", &here, PURPLE_CALLBACK(on_typing), "stopped");
}

/* ---- commands */

static void refuse(const char *command, const char *why)
{
    json_lines_event("refused", "command", command, "why", why, NULL);
}

static void set_option(G_GNUC_UNUSED JsonObject *options, const char *name, JsonNode *value, G_GNUC_UNUSED gpointer data)
{
    switch (json_node_get_value_type(value)) {
    case G_TYPE_STRING:
        purple_account_set_string(account, name, json_node_get_string(value));
        break;
    case G_TYPE_INT64:
        purple_account_set_int(account, name, (int)json_node_get_int(value));
        break;
    case G_TYPE_BOOLEAN:
        purple_account_set_bool(account, name, json_node_get_boolean(value));
        break;
    default:
        refuse("sign_on", name);
    }
}

static PurpleBuddy *add_contact(const char *who)
{
    PurpleGroup *group = purple_find_group("Contacts");
    if (group == NULL) {
        group = purple_group_new("Contacts");
        purple_blist_add_group(group, NULL);
    }
    PurpleBuddy *buddy = purple_buddy_new(account, who, NULL);
    purple_blist_add_buddy(buddy, NULL, group, NULL);
    return buddy;
}

static void sign_on(JsonObject *command)
{
    const char *protocol = json_lines_text_of(command, "protocol");
    const char *username = json_lines_text_of(command, "username");
    if (account != NULL || protocol == NULL || username == NULL || purple_find_prpl(protocol) == NULL) {
        refuse("sign_on", account != NULL ? "there is an account" : "no such protocol, or no username");
        return;
    }
    returns = json_lines_flag_of(command, "returns");
    account = purple_account_new(username, protocol);
    purple_account_set_password(account, json_lines_text_of(command, "password"));
    if (json_object_has_member(command, "options")) {
        json_object_foreach_member(json_object_get_object_member(command, "options"), set_option, NULL);
    }
    purple_accounts_add(account);
    if (json_object_has_member(command, "contacts")) {
        JsonArray *contacts = json_object_get_array_member(command, "contacts");
        for (guint index = 0; index < json_array_get_length(contacts); index++) {
            add_contact(json_array_get_string_element(contacts, index));
        }
    }
    purple_account_set_enabled(account, UI, TRUE);
}

static PurpleConversation *conversation_with(const char *who, gboolean open)
{
    PurpleConversation *found = purple_find_conversation_with_account(PURPLE_CONV_TYPE_IM, who, account);
    return found != NULL || !open ? found : purple_conversation_new(PURPLE_CONV_TYPE_IM, account, who);
}

static void send_message(JsonObject *command, const char *to)
{
    const char *html = json_lines_text_of(command, "html");
    char *markup = NULL;
    if (html == NULL) {
        /* What a window of Pidgin makes of typed text. */
        const char *text = json_lines_text_of(command, "text");
        char *escaped = g_markup_escape_text(text != NULL ? text : "", -1);
        char **lines = g_strsplit(escaped, "\n", -1);
        html = markup = g_strjoinv("<br>", lines);
        g_strfreev(lines);
        g_free(escaped);
    }
    purple_conv_im_send(purple_conversation_get_im_data(conversation_with(to, TRUE)), html);
    g_free(markup);
}

static void set_status(JsonObject *command)
{
    const char *state = json_lines_text_of(command, "state");
    const char *note = json_lines_text_of(command, "note");
    if (state == NULL || purple_account_get_status_type(account, state) == NULL) {
        GString *known = g_string_new("the protocol has:");
        for (GList *type = purple_account_get_status_types(account); type != NULL; type = type->next) {
            g_string_append_printf(known, " %s", purple_status_type_get_id(type->data));
        }
        refuse("status", known->str);
        g_string_free(known, TRUE);
        return;
    }
    if (note != NULL) {
        purple_account_set_status(account, state, TRUE, "message", note, NULL);
    } else {
        purple_account_set_status(account, state, TRUE, NULL);
    }
}

static void list_contacts(void)
{
    JsonBuilder *event = json_lines_begin("contacts");
    json_builder_set_member_name(event, "contacts");
    json_builder_begin_array(event);
    GSList *buddies = purple_find_buddies(account, NULL);
    for (GSList *buddy = buddies; buddy != NULL; buddy = buddy->next) {
        PurpleGroup *group = purple_buddy_get_group(buddy->data);
        json_builder_begin_object(event);
        presence_fields(event, buddy->data);
        json_lines_text(event, "alias", purple_buddy_get_alias(buddy->data));
        json_lines_text(event, "group", group != NULL ? purple_group_get_name(group) : NULL);
        json_builder_end_object(event);
    }
    g_slist_free(buddies);
    json_builder_end_array(event);
    json_lines_end(event);
}

static void command_with(const char *op, JsonObject *command, const char *who)
{
    if (g_str_equal(op, "send")) {
        send_message(command, who);
    } else if (g_str_equal(op, "typing")) {
        PurpleTypingState silent = json_lines_flag_of(command, "paused") ? PURPLE_TYPED : PURPLE_NOT_TYPING;
        PurpleTypingState state = json_lines_flag_of(command, "active") ? PURPLE_TYPING : silent;
        serv_send_typing(purple_account_get_connection(account), who, state);
    } else if (g_str_equal(op, "leave")) {
        PurpleConversation *conversation = conversation_with(who, FALSE);
        if (conversation != NULL) {
            purple_conversation_destroy(conversation);
        } else {
            refuse(op, "no such conversation");
        }
    } else if (g_str_equal(op, "add")) {
        purple_account_add_buddy(account, add_contact(who));
    } else if (g_str_equal(op, "remove")) {
        PurpleBuddy *buddy = purple_find_buddy(account, who);
        if (buddy != NULL) {
            purple_account_remove_buddy(account, buddy, purple_buddy_get_group(buddy));
            purple_blist_remove_buddy(buddy);
        } else {
            refuse(op, "no such contact");
        }
    } else {
        refuse(op, "no such command");
    }
}

static void handle(const char *op, JsonObject *command)
{
    const char *who = json_lines_text_of(command, json_object_has_member(command, "to") ? "to" : "who");
    if (g_str_equal(op, "sign_on")) {
        sign_on(command);
    } else if (account == NULL || purple_account_get_connection(account) == NULL) {
        refuse(op, "not signed on");
    } else if (g_str_equal(op, "status")) {
        set_status(command);
    } else if (g_str_equal(op, "contacts")) {
        list_contacts();
    } else if (g_str_equal(op, "sign_off")) {
        purple_account_disconnect(account);
    } else if (who == NULL) {
        refuse(op, "no such command, or it does not say with whom");
    } else {
        command_with(op, command, who);
    }
}

static void at_end(void)
{
    g_main_loop_quit(loop);
}

static void init_ui(void)
{
    purple_conversations_set_ui_ops(&conversations);
    purple_request_set_ui_ops(&requests);
    purple_accounts_set_ui_ops(&accounts);
    purple_notify_set_ui_ops(&notices);
    connect_signals();
}

static PurpleCoreUiOps core = { .ui_init = init_ui };

int main(int count, char **arguments)
{
    if (count != 2) {
        g_printerr("purple_client DIRECTORY\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    loop = g_main_loop_new(NULL, FALSE);
    json_lines_listen(handle, at_end);
    purple_util_set_user_dir(arguments[1]);
    purple_debug_set_ui_ops(&debugging);
    purple_core_set_ui_ops(&core);
    purple_eventloop_set_ui_ops(&event_loop);
    if (!purple_core_init(UI)) {
        json_lines_event("refused", "command", "", "why", "libpurple does not start", NULL);
        return 1;
    }
    purple_set_blist(purple_blist_new());
    purple_prefs_load();
    purple_prefs_set_bool("/purple/logging/log_ims", FALSE);
    purple_prefs_set_bool("/purple/logging/log_chats", FALSE);
    purple_prefs_set_bool("/purple/logging/log_system", FALSE);
    purple_prefs_set_bool("/purple/away/away_when_idle", FALSE);
    purple_prefs_set_string("/purple/away/idle_reporting", "none");
    /* It is on this host, and asks no router. */
    purple_prefs_set_bool("/purple/network/auto_ip", FALSE);
    purple_prefs_set_bool("/purple/network/map_ports", FALSE);
    purple_network_set_public_ip("127.0.0.1");
    purple_network_force_online();
    json_lines_event("ready", NULL);
    g_main_loop_run(loop);
    purple_core_quit();
    return 0;
}
