/* A client of Sametime on the library libmeanwhile, driven by JSON lines (see json_lines.h). The library chooses the kind of login by
   the server's handshake: with a key of 64 bytes RC2/128, else RC2/40.

   Commands: {"op": ...}
     sign_in    host, port, user, password, and optionally minor (of the protocol's version), stay (not to follow a redirection)
     send       to, and one of text, html, subject; to may have a community
     typing     to, active
     close      to: ends the conversation
     rich       on: whether conversations from now on begin with HTML
     watch, unwatch   who [id, ...]
     resolve    names [...], flags
     store      key, value (a text)
     load       key
     status     state (a number of the protocol), note
     privacy    deny, users [id, ...]
     announce   to [recipient, ...], text, reply
     sign_out

   Events: {"event": ...}
     signed_in {user, name, login, server_minor}
     redirected {host}
     stopped {code, reason}: also when it cannot connect, with code -1
     opened {with, name, rich}; closed {with, code, reason}
     message {from, name, kind: "text", "html", "subject" or "mime", text, rich}
     failed {to, text, code, reason}: a message that was never taken
     typing {from, active}
     presence {who, online, status, note, name, group, alternative}
     resolved {code, results: [{query, code, matches: [{id, name, description, type}]}]}
     loaded {key, code, value}; saved {key, code}
     status {state, note}; privacy {deny, users}
     admin {text}; announcement {from, text, reply}
     refused {command, why}; warning {library, text} */
#include <gio/gio.h>
#include <mw_cipher.h>
#include <mw_common.h>
#include <mw_error.h>

#include "meanwhile_services.h"

#define READ_BYTES 16384

static GMainLoop *loop;
static GSocketConnection *connection;
static GSource *reader;
static struct mwSession *session;
static struct meanwhile_services services;
static gint64 port;
static gboolean stays;
/* It leaves one server for another, which is no end. */
static gboolean moves;

/* ---- the connection */

static void disconnect(void)
{
    if (reader != NULL) {
        g_source_destroy(reader);
        g_source_unref(reader);
        reader = NULL;
    }
    g_clear_object(&connection);
}

static void stopped(gint64 code, const char *reason)
{
    JsonBuilder *event = json_lines_begin("stopped");
    json_lines_number(event, "code", code);
    json_lines_text(event, "reason", reason);
    json_lines_end(event);
}

static gboolean readable(GSocket *socket, G_GNUC_UNUSED GIOCondition condition, G_GNUC_UNUSED gpointer data)
{
    char bytes[READ_BYTES];
    GError *fault = NULL;
    gssize count = g_socket_receive(socket, bytes, sizeof bytes, NULL, &fault);
    if (count > 0) {
        mwSession_recv(session, (guchar *)bytes, (gsize)count);
        return G_SOURCE_CONTINUE;
    }
    stopped(-1, fault != NULL ? fault->message : "the server has closed the connection");
    g_clear_error(&fault);
    disconnect();
    return G_SOURCE_REMOVE;
}

static gboolean connect_to(const char *host)
{
    GError *fault = NULL;
    GSocketClient *client = g_socket_client_new();
    g_socket_client_set_enable_proxy(client, FALSE);
    connection = g_socket_client_connect_to_host(client, host, (guint16)port, NULL, &fault);
    g_object_unref(client);
    if (connection == NULL) {
        stopped(-1, fault->message);
        g_error_free(fault);
        return FALSE;
    }
    reader = g_socket_create_source(g_socket_connection_get_socket(connection), G_IO_IN | G_IO_HUP | G_IO_ERR, NULL);
    g_source_set_callback(reader, G_SOURCE_FUNC(readable), NULL, NULL);
    g_source_attach(reader, NULL);
    return TRUE;
}

static int io_write(G_GNUC_UNUSED struct mwSession *of, const guchar *bytes, gsize count)
{
    if (connection == NULL) {
        return 1;
    }
    GOutputStream *output = g_io_stream_get_output_stream(G_IO_STREAM(connection));
    return g_output_stream_write_all(output, bytes, count, NULL, NULL, NULL) ? 0 : 1;
}

static void io_close(G_GNUC_UNUSED struct mwSession *of)
{
    disconnect();
}

/* ---- the session */

/* Later, since the library is in the midst of reading; it starts no session that has not stopped. */
static gboolean move_to(gpointer host)
{
    moves = TRUE;
    mwSession_stop(session, 0);
    moves = FALSE;
    disconnect();
    if (connect_to(host)) {
        mwSession_start(session);
    }
    return G_SOURCE_REMOVE;
}

static void on_state(struct mwSession *of, enum mwSessionState state, gpointer info)
{
    if (state == mwSession_STARTED) {
        struct mwLoginInfo *self = mwSession_getLoginInfo(of);
        JsonBuilder *event = json_lines_begin("signed_in");
        json_lines_text(event, "user", self->user_id);
        json_lines_text(event, "name", self->user_name);
        json_lines_text(event, "login", self->login_id);
        json_lines_number(event, "server_minor", GPOINTER_TO_UINT(mwSession_getProperty(of, mwSession_SERVER_VER_MINOR)));
        json_lines_end(event);
        /* Without a status nobody sees it. */
        struct mwUserStatus active = { .status = mwStatus_ACTIVE };
        mwSession_setUserStatus(of, &active);
    } else if (state == mwSession_STOPPING && !moves) {
        guint32 code = GPOINTER_TO_UINT(info);
        char *reason = mwError(code);
        stopped(code, reason);
        g_free(reason);
    } else if (state == mwSession_LOGIN_REDIR) {
        json_lines_event("redirected", "host", (const char *)info, NULL);
        if (stays) {
            mwSession_forceLogin(of);
        } else {
            g_idle_add_full(G_PRIORITY_DEFAULT, move_to, g_strdup(info), g_free);
        }
    }
}

static void on_privacy(struct mwSession *of)
{
    struct mwPrivacyInfo *privacy = mwSession_getPrivacyInfo(of);
    JsonBuilder *event = json_lines_begin("privacy");
    json_lines_flag(event, "deny", privacy->deny);
    json_builder_set_member_name(event, "users");
    json_builder_begin_array(event);
    for (guint32 index = 0; index < privacy->count; index++) {
        json_builder_add_string_value(event, privacy->users[index].id);
    }
    json_builder_end_array(event);
    json_lines_end(event);
}

static void on_status(struct mwSession *of)
{
    struct mwUserStatus *status = mwSession_getUserStatus(of);
    JsonBuilder *event = json_lines_begin("status");
    json_lines_number(event, "state", status->status);
    json_lines_text(event, "note", status->desc);
    json_lines_end(event);
}

static void on_admin(G_GNUC_UNUSED struct mwSession *of, const char *text)
{
    json_lines_event("admin", "text", text, NULL);
}

static void on_announce(G_GNUC_UNUSED struct mwSession *of, struct mwLoginInfo *from, gboolean reply, const char *text)
{
    JsonBuilder *event = json_lines_begin("announcement");
    json_lines_text(event, "from", from != NULL ? from->user_id : NULL);
    json_lines_text(event, "text", text);
    json_lines_flag(event, "reply", reply);
    json_lines_end(event);
}

static struct mwSessionHandler session_handler = {
    .io_write = io_write,
    .io_close = io_close,
    .on_stateChange = on_state,
    .on_setPrivacyInfo = on_privacy,
    .on_setUserStatus = on_status,
    .on_admin = on_admin,
    .on_announce = on_announce,
};

/* ---- commands */

static GList *texts_of(JsonObject *command, const char *name)
{
    GList *texts = NULL;
    JsonArray *array = json_object_has_member(command, name) ? json_object_get_array_member(command, name) : NULL;
    for (guint index = 0; array != NULL && index < json_array_get_length(array); index++) {
        texts = g_list_append(texts, (gpointer)json_array_get_string_element(array, index));
    }
    return texts;
}

static void sign_in(JsonObject *command)
{
    if (session != NULL) {
        json_lines_event("refused", "command", "sign_in", "why", "there is a session", NULL);
        return;
    }
    port = json_lines_number_of(command, "port");
    stays = json_lines_flag_of(command, "stay");
    session = mwSession_new(&session_handler);
    mwSession_setProperty(session, mwSession_AUTH_USER_ID, g_strdup(json_lines_text_of(command, "user")), g_free);
    mwSession_setProperty(session, mwSession_AUTH_PASSWORD, g_strdup(json_lines_text_of(command, "password")), g_free);
    mwSession_setProperty(session, mwSession_CLIENT_TYPE_ID, GUINT_TO_POINTER(mwLogin_MEANWHILE), NULL);
    if (json_object_has_member(command, "minor")) {
        gpointer minor = GUINT_TO_POINTER((guint)json_lines_number_of(command, "minor"));
        mwSession_setProperty(session, mwSession_CLIENT_VER_MINOR, minor, NULL);
    }
    mwSession_addCipher(session, mwCipher_new_RC2_40(session));
    mwSession_addCipher(session, mwCipher_new_RC2_128(session));
    meanwhile_serve(session, &services);
    if (connect_to(json_lines_text_of(command, "host"))) {
        mwSession_start(session);
    }
}

static void watch(JsonObject *command, gboolean on)
{
    GList *names = texts_of(command, "who");
    GList *ids = NULL;
    for (GList *name = names; name != NULL; name = name->next) {
        struct mwAwareIdBlock *id = g_new0(struct mwAwareIdBlock, 1);
        id->type = mwAware_USER;
        id->user = name->data;
        ids = g_list_append(ids, id);
    }
    if (on) {
        mwAwareList_addAware(services.watched, ids);
    } else {
        mwAwareList_removeAware(services.watched, ids);
    }
    g_list_free_full(ids, g_free);
    g_list_free(names);
}

static void set_privacy(JsonObject *command)
{
    GList *names = texts_of(command, "users");
    guint count = g_list_length(names);
    struct mwUserItem *users = g_new0(struct mwUserItem, count + 1);
    guint filled = 0;
    for (GList *name = names; name != NULL; name = name->next) {
        users[filled++].id = name->data;
    }
    struct mwPrivacyInfo privacy = { .deny = json_lines_flag_of(command, "deny"), .count = count, .users = users };
    mwSession_setPrivacyInfo(session, &privacy);
    g_free(users);
    g_list_free(names);
}

static void with_session(const char *op, JsonObject *command)
{
    if (g_str_equal(op, "watch") || g_str_equal(op, "unwatch")) {
        watch(command, g_str_equal(op, "watch"));
    } else if (g_str_equal(op, "rich")) {
        mwServiceIm_setClientType(services.messages, json_lines_flag_of(command, "on") ? mwImClient_NOTESBUDDY : mwImClient_PLAIN);
    } else if (g_str_equal(op, "resolve")) {
        GList *names = texts_of(command, "names");
        guint32 flags = (guint32)json_lines_number_of(command, "flags");
        mwServiceResolve_resolve(services.resolver, names, flags != 0 ? flags : mwResolveFlag_FIRST | mwResolveFlag_USERS, meanwhile_resolved, NULL, NULL);
        g_list_free(names);
    } else if (g_str_equal(op, "store")) {
        guint32 key = (guint32)json_lines_number_of(command, "key");
        mwServiceStorage_save(services.storage, mwStorageUnit_newString(key, json_lines_text_of(command, "value")), meanwhile_saved, NULL, NULL);
    } else if (g_str_equal(op, "load")) {
        guint32 key = (guint32)json_lines_number_of(command, "key");
        mwServiceStorage_load(services.storage, mwStorageUnit_new(key), meanwhile_loaded, NULL, NULL);
    } else if (g_str_equal(op, "status")) {
        struct mwUserStatus status = {
            .status = (guint16)json_lines_number_of(command, "state"),
            .desc = (char *)json_lines_text_of(command, "note"),
        };
        mwSession_setUserStatus(session, &status);
    } else if (g_str_equal(op, "privacy")) {
        set_privacy(command);
    } else if (g_str_equal(op, "announce")) {
        GList *names = texts_of(command, "to");
        mwSession_sendAnnounce(session, json_lines_flag_of(command, "reply"), json_lines_text_of(command, "text"), names);
        g_list_free(names);
    } else if (g_str_equal(op, "sign_out")) {
        mwSession_stop(session, 0);
    } else if (json_lines_text_of(command, "to") == NULL) {
        json_lines_event("refused", "command", op, "why", "no such command, or it does not say with whom", NULL);
    } else if (g_str_equal(op, "send")) {
        meanwhile_send(command);
    } else if (g_str_equal(op, "typing")) {
        struct mwConversation *conversation = meanwhile_conversation(command);
        gboolean active = json_lines_flag_of(command, "active");
        if (!mwConversation_isOpen(conversation)
            || mwConversation_send(conversation, mwImSend_TYPING, GINT_TO_POINTER(active)) != 0) {
            json_lines_event("refused", "command", op, "why", "the conversation is not open", NULL);
        }
    } else if (g_str_equal(op, "close")) {
        mwConversation_close(meanwhile_conversation(command), 0);
    } else {
        json_lines_event("refused", "command", op, "why", "no such command", NULL);
    }
}

static void handle(const char *op, JsonObject *command)
{
    if (g_str_equal(op, "sign_in")) {
        sign_in(command);
    } else if (session == NULL || !mwSession_isStarted(session)) {
        json_lines_event("refused", "command", op, "why", "not signed in", NULL);
    } else {
        with_session(op, command);
    }
}

static void at_end(void)
{
    g_main_loop_quit(loop);
}

static gboolean keep_alive(G_GNUC_UNUSED gpointer data)
{
    if (session != NULL && mwSession_isStarted(session)) {
        mwSession_sendKeepalive(session);
    }
    return G_SOURCE_CONTINUE;
}

int main(void)
{
    loop = g_main_loop_new(NULL, FALSE);
    json_lines_listen(handle, at_end);
    g_timeout_add_seconds(30, keep_alive, NULL);
    json_lines_event("ready", NULL);
    g_main_loop_run(loop);
    return 0;
}
