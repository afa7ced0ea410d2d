/* What a session of Sametime serves beside itself: awareness, conversations, names, storage. See meanwhile_client.c. */
#include "meanwhile_services.h"

#include <mw_common.h>
#include <mw_error.h>

static struct mwServiceIm *messages;

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

struct mwConversation *meanwhile_conversation(JsonObject *command)
{
    struct mwIdBlock target = {
        .user = (char *)json_lines_text_of(command, "to"),
        .community = (char *)json_lines_text_of(command, "community"),
    };
    return mwServiceIm_getConversation(messages, &target);
}

void meanwhile_send(JsonObject *command)
{
    static const struct {
        const char *name;
        enum mwImSendType kind;
    } kinds[] = { { "text", mwImSend_PLAIN }, { "html", mwImSend_HTML }, { "subject", mwImSend_SUBJECT } };
    struct mwConversation *conversation = meanwhile_conversation(command);
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

void meanwhile_resolved(G_GNUC_UNUSED struct mwServiceResolve *service, G_GNUC_UNUSED guint32 id, guint32 code, GList *results,
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

void meanwhile_loaded(G_GNUC_UNUSED struct mwServiceStorage *service, guint32 code, struct mwStorageUnit *item,
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

void meanwhile_saved(G_GNUC_UNUSED struct mwServiceStorage *service, guint32 code, struct mwStorageUnit *item,
                     G_GNUC_UNUSED gpointer data)
{
    JsonBuilder *event = json_lines_begin("saved");
    json_lines_number(event, "key", mwStorageUnit_getKey(item));
    json_lines_number(event, "code", code);
    json_lines_end(event);
}

void meanwhile_serve(struct mwSession *session, struct meanwhile_services *services)
{
    services->awareness = mwServiceAware_new(session, &aware_handler);
    services->watched = mwAwareList_new(services->awareness, &list_handler);
    services->messages = messages = mwServiceIm_new(session, &im_handler);
    mwServiceIm_setClientType(messages, mwImClient_PLAIN);
    services->resolver = mwServiceResolve_new(session);
    services->storage = mwServiceStorage_new(session);
    mwSession_addService(session, MW_SERVICE(services->awareness));
    mwSession_addService(session, MW_SERVICE(services->messages));
    mwSession_addService(session, MW_SERVICE(services->resolver));
    mwSession_addService(session, MW_SERVICE(services->storage));
}
