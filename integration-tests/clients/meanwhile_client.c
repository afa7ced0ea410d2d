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
#include <mw_service.h>
#include <mw_session.h>
#include <mw_srvc_aware.h>
#include <mw_srvc_im.h>
#include <mw_srvc_resolve.h>
#include <mw_srvc_store.h>

#include <string.h>

#include "json_lines.h"

#define READ_BYTES 16384

static GMainLoop *loop;
static GSocketConnection *connection;
static GSource *reader;
static struct mwSession *session;
static struct mwServiceAware *awareness;
static struct mwAwareList *watched;
static struct mwServiceIm *messages;
static struct mwServiceResolve *resolver;
static struct mwServiceStorage *storage;
static gint64 port;
static gboolean stays;

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
    } else if (state == mwSession_STOPPING) {
        guint32 code = GPOINTER_TO_UINT(info);
        char *reason = mwError(code);
        stopped(code, reason);
        g_free(reason);
    } else if (state == mwSession_LOGIN_REDIR) {
        char *host = g_strdup(info);
        json_lines_event("redirected", "host", host, NULL);
        if (stays) {
            mwSession_forceLogin(of);
        } else {
            disconnect();
            if (connect_to(host)) {
                mwSession_start(of);
            }
        }
        g_free(host);
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

/* ---- awareness */

static void on_aware(G_GNUC_UNUSED struct mwAwareList *list, struct mwAwareSnapshot *seen)
{
    JsonBuilder *event = json_lines_begin("presence");
    json_lines_text(event, "who", seen->id.user);
    json_lines_flag(event, "online", seen->online);
    json_lines_number(event, "status", seen->online ? seen->status.status : 0);
    json_lines_text(event, "note", seen->online ? seen->status.desc : NULL);
    json_lines_text(event, "name", seen->name);
    json_lines_text(event, "group", seen->group);
    json_lines_text(event, "alternative", seen->alt_id);
    json_lines_end(event);
}

static void on_attribute(G_GNUC_UNUSED struct mwAwareList *list, G_GNUC_UNUSED struct mwAwareIdBlock *id,
                         G_GNUC_UNUSED struct mwAwareAttribute *attribute)
{
}

static void on_own_attribute(G_GNUC_UNUSED struct mwServiceAware *service, G_GNUC_UNUSED struct mwAwareAttribute *attribute)
{
}

static struct mwAwareHandler aware_handler = { .on_attrib = on_own_attribute };
static struct mwAwareListHandler list_handler = { .on_aware = on_aware, .on_attrib = on_attribute };

/* ---- conversations */

typedef struct {
    enum mwImSendType kind;
    char *text;
} Waiting;

static void waiting_free(gpointer data)
{
    Waiting *waiting = data;
    g_free(waiting->text);
    g_free(waiting);
}

static void queue_free(gpointer data)
{
    g_queue_free_full(data, waiting_free);
}

static gboolean is_rich(struct mwConversation *conversation)
{
    return mwConversation_getClientType(conversation) == mwImClient_NOTESBUDDY;
}

static const char *name_of(struct mwConversation *conversation)
{
    struct mwLoginInfo *info = mwConversation_getTargetInfo(conversation);
    return info != NULL ? info->user_name : NULL;
}

static void on_opened(struct mwConversation *conversation)
{
    JsonBuilder *event = json_lines_begin("opened");
    json_lines_text(event, "with", mwConversation_getTarget(conversation)->user);
    json_lines_text(event, "name", name_of(conversation));
    json_lines_flag(event, "rich", is_rich(conversation));
    json_lines_end(event);
    GQueue *queue = mwConversation_getClientData(conversation);
    while (queue != NULL && !g_queue_is_empty(queue)) {
        Waiting *waiting = g_queue_pop_head(queue);
        mwConversation_send(conversation, waiting->kind, waiting->text);
        waiting_free(waiting);
    }
}

static void on_closed(struct mwConversation *conversation, guint32 code)
{
    const char *with = mwConversation_getTarget(conversation)->user;
    char *reason = mwError(code);
    GQueue *queue = mwConversation_getClientData(conversation);
    while (queue != NULL && !g_queue_is_empty(queue)) {
        Waiting *waiting = g_queue_pop_head(queue);
        JsonBuilder *event = json_lines_begin("failed");
        json_lines_text(event, "to", with);
        json_lines_text(event, "text", waiting->text);
        json_lines_number(event, "code", code);
        json_lines_text(event, "reason", reason);
        json_lines_end(event);
        waiting_free(waiting);
    }
    JsonBuilder *event = json_lines_begin("closed");
    json_lines_text(event, "with", with);
    json_lines_number(event, "code", code);
    json_lines_text(event, "reason", reason);
    json_lines_end(event);
    g_free(reason);
}

static void on_received(struct mwConversation *conversation, enum mwImSendType kind, gconstpointer content)
{
    static const char *const names[] = { "text", "typing", "html", "subject", "mime", "timestamp" };
    const char *from = mwConversation_getTarget(conversation)->user;
    if (kind == mwImSend_TYPING) {
        JsonBuilder *event = json_lines_begin("typing");
        json_lines_text(event, "from", from);
        json_lines_flag(event, "active", GPOINTER_TO_INT(content) != 0);
        json_lines_end(event);
        return;
    }
    JsonBuilder *event = json_lines_begin("message");
    json_lines_text(event, "from", from);
    json_lines_text(event, "name", name_of(conversation));
    json_lines_text(event, "kind", kind < G_N_ELEMENTS(names) ? names[kind] : "unknown");
    json_lines_text(event, "text", content);
    json_lines_flag(event, "rich", is_rich(conversation));
    json_lines_end(event);
}

static void on_invited(struct mwConversation *conversation, const char *message, G_GNUC_UNUSED const char *title,
                       G_GNUC_UNUSED const char *name)
{
    json_lines_event("invited", "from", mwConversation_getTarget(conversation)->user, "text", message, NULL);
}

static struct mwImHandler im_handler = {
    .conversation_opened = on_opened,
    .conversation_closed = on_closed,
    .conversation_recv = on_received,
    .place_invite = on_invited,
};

static struct mwConversation *conversation_with(JsonObject *command)
{
    struct mwIdBlock target = {
        .user = (char *)json_lines_text_of(command, "to"),
        .community = (char *)json_lines_text_of(command, "community"),
    };
    return mwServiceIm_getConversation(messages, &target);
}

static void send_message(JsonObject *command)
{
    static const struct {
        const char *name;
        enum mwImSendType kind;
    } kinds[] = { { "text", mwImSend_PLAIN }, { "html", mwImSend_HTML }, { "subject", mwImSend_SUBJECT } };
    struct mwConversation *conversation = conversation_with(command);
    for (gsize index = 0; index < G_N_ELEMENTS(kinds); index++) {
        const char *content = json_lines_text_of(command, kinds[index].name);
        if (content == NULL) {
            continue;
        }
        if (mwConversation_isOpen(conversation)) {
            if (mwConversation_send(conversation, kinds[index].kind, content) != 0) {
                json_lines_event("refused", "command", "send", "why", "the conversation does not take it", NULL);
            }
            continue;
        }
        GQueue *queue = mwConversation_getClientData(conversation);
        if (queue == NULL) {
            queue = g_queue_new();
            mwConversation_setClientData(conversation, queue, queue_free);
        }
        Waiting *waiting = g_new0(Waiting, 1);
        waiting->kind = kinds[index].kind;
        waiting->text = g_strdup(content);
        g_queue_push_tail(queue, waiting);
        if (!mwConversation_isPending(conversation)) {
            mwConversation_open(conversation);
        }
    }
}

/* ---- resolve and storage */

static void on_resolved(G_GNUC_UNUSED struct mwServiceResolve *service, G_GNUC_UNUSED guint32 id, guint32 code, GList *results,
                        G_GNUC_UNUSED gpointer data)
{
    JsonBuilder *event = json_lines_begin("resolved");
    json_lines_number(event, "code", code);
    json_builder_set_member_name(event, "results");
    json_builder_begin_array(event);
    for (; results != NULL; results = results->next) {
        struct mwResolveResult *result = results->data;
        json_builder_begin_object(event);
        json_lines_text(event, "query", result->name);
        json_lines_number(event, "code", result->code);
        json_builder_set_member_name(event, "matches");
        json_builder_begin_array(event);
        for (GList *next = result->matches; next != NULL; next = next->next) {
            struct mwResolveMatch *match = next->data;
            json_builder_begin_object(event);
            json_lines_text(event, "id", match->id);
            json_lines_text(event, "name", match->name);
            json_lines_text(event, "description", match->desc);
            json_lines_number(event, "type", match->type);
            json_builder_end_object(event);
        }
        json_builder_end_array(event);
        json_builder_end_object(event);
    }
    json_builder_end_array(event);
    json_lines_end(event);
}

static void on_loaded(G_GNUC_UNUSED struct mwServiceStorage *service, guint32 code, struct mwStorageUnit *item,
                      G_GNUC_UNUSED gpointer data)
{
    char *value = mwStorageUnit_asString(item);
    JsonBuilder *event = json_lines_begin("loaded");
    json_lines_number(event, "key", mwStorageUnit_getKey(item));
    json_lines_number(event, "code", code);
    json_lines_text(event, "value", value);
    json_lines_end(event);
    g_free(value);
}

static void on_saved(G_GNUC_UNUSED struct mwServiceStorage *service, guint32 code, struct mwStorageUnit *item,
                     G_GNUC_UNUSED gpointer data)
{
    JsonBuilder *event = json_lines_begin("saved");
    json_lines_number(event, "key", mwStorageUnit_getKey(item));
    json_lines_number(event, "code", code);
    json_lines_end(event);
}

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
    awareness = mwServiceAware_new(session, &aware_handler);
    watched = mwAwareList_new(awareness, &list_handler);
    messages = mwServiceIm_new(session, &im_handler);
    mwServiceIm_setClientType(messages, mwImClient_PLAIN);
    resolver = mwServiceResolve_new(session);
    storage = mwServiceStorage_new(session);
    mwSession_addService(session, MW_SERVICE(awareness));
    mwSession_addService(session, MW_SERVICE(messages));
    mwSession_addService(session, MW_SERVICE(resolver));
    mwSession_addService(session, MW_SERVICE(storage));
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
        mwAwareList_addAware(watched, ids);
    } else {
        mwAwareList_removeAware(watched, ids);
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
        mwServiceIm_setClientType(messages, json_lines_flag_of(command, "on") ? mwImClient_NOTESBUDDY : mwImClient_PLAIN);
    } else if (g_str_equal(op, "resolve")) {
        GList *names = texts_of(command, "names");
        guint32 flags = (guint32)json_lines_number_of(command, "flags");
        mwServiceResolve_resolve(resolver, names, flags != 0 ? flags : mwResolveFlag_FIRST | mwResolveFlag_USERS, on_resolved, NULL, NULL);
        g_list_free(names);
    } else if (g_str_equal(op, "store")) {
        guint32 key = (guint32)json_lines_number_of(command, "key");
        mwServiceStorage_save(storage, mwStorageUnit_newString(key, json_lines_text_of(command, "value")), on_saved, NULL, NULL);
    } else if (g_str_equal(op, "load")) {
        guint32 key = (guint32)json_lines_number_of(command, "key");
        mwServiceStorage_load(storage, mwStorageUnit_new(key), on_loaded, NULL, NULL);
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
        send_message(command);
    } else if (g_str_equal(op, "typing")) {
        struct mwConversation *conversation = conversation_with(command);
        gboolean active = json_lines_flag_of(command, "active");
        if (!mwConversation_isOpen(conversation)
            || mwConversation_send(conversation, mwImSend_TYPING, GINT_TO_POINTER(active)) != 0) {
            json_lines_event("refused", "command", op, "why", "the conversation is not open", NULL);
        }
    } else if (g_str_equal(op, "close")) {
        mwConversation_close(conversation_with(command), 0);
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
