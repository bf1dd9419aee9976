//! PostgreSQL's keywords: what they say of the words around them.

use super::lists::{count, has, split};

/// Keywords that cannot name a function: PostgreSQL's classes "reserved" and "column name", of 15 to 18.
const NO_FUNCTIONS: &[u8] = b"\
    all analyse analyze and any array as asc asymmetric between bigint bit boolean both case cast char \
    character check coalesce collate column constraint create current_catalog current_date current_role \
    current_time current_timestamp current_user dec decimal default deferrable desc distinct do else \
    end except exists extract false fetch float for foreign from grant greatest group grouping having \
    in initially inout int integer intersect interval into json json_array json_arrayagg json_exists \
    json_object json_objectagg json_query json_scalar json_serialize json_table json_value lateral \
    leading least limit localtime localtimestamp merge_action national nchar none normalize not null \
    nullif numeric offset on only or order out overlay placing position precision primary real \
    references returning row select session_user setof smallint some substring symmetric system_user \
    table then time timestamp to trailing treat trim true union unique user using values varchar \
    variadic when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest \
    xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";
/// All others, with those that newer versions may add: the words that may stand before an expression are among them.
const OTHERS: &[u8] = b"\
    abort absent absolute access action add admin after aggregate also alter always asensitive \
    assertion assignment at atomic attach attribute authorization backward before begin binary breadth \
    by cache call called cascade cascaded catalog chain characteristics checkpoint class close cluster \
    collation columns comment comments commit committed compression concurrently conditional \
    configuration conflict connection constraints content continue conversion copy cost cross csv cube \
    current current_schema cursor cycle data database day deallocate declare defaults deferred definer \
    delete delimiter delimiters depends depth destination detach dictionary disable discard document \
    domain double drop each edge empty enable encoding encrypted enforced enum error escape event \
    exclude excluding exclusive execute explain expression extension external family filter finalize \
    first following force format forward freeze full function functions generated global granted graph \
    groups handler header hold hour identity if ignore ilike immediate immutable implicit import \
    include including increment indent index indexes inherit inherits inline inner input insensitive \
    insert instead invoker is isnull isolation join keep key keys label language large last leakproof \
    left level like listen load local location lock locked logged lsn mapping match matched \
    materialized maxvalue merge method minute minvalue mode month move name names natural nested new \
    next nfc nfd nfkc nfkd no node normalized nothing notify notnull nowait nulls object objects of off \
    oids old omit operator option options ordinality others outer over overlaps overriding owned owner \
    parallel parameter parser partial partition partitions passing password path period plan plans \
    policy preceding prepare prepared preserve prior privileges procedural procedure procedures program \
    properties property publication quote quotes range read reassign recheck recursive ref referencing \
    refresh reindex relationship relative release rename repack repeatable replace replica reset \
    restart restrict return returns revoke right role rollback rollup routine routines rows rule \
    savepoint scalar schema schemas scroll search second security sequence sequences serializable \
    server session set sets share show similar simple skip snapshot source split sql stable standalone \
    start statement statistics stdin stdout storage stored strict string strip subscription support \
    sysid system tables tablesample tablespace target temp template temporary text ties transaction \
    transform trigger truncate trusted type types uescape unbounded uncommitted unconditional \
    unencrypted unknown unlisten unlogged until update vacuum valid validate validator value varying \
    verbose version vertex vertices view views virtual volatile wait whitespace within without work \
    wrapper write xml year yes zone";
static NO_FUNCTION: [&[u8]; count(NO_FUNCTIONS)] = split(NO_FUNCTIONS);
static OTHER: [&[u8]; count(OTHERS)] = split(OTHERS);

/// Whether a folded word that stands before a parenthesis is something else than the name of a function.
pub(super) fn is_no_function(word: &[u8]) -> bool {
    has(&NO_FUNCTION, word)
}

/// Whether a folded word is a keyword of any class.
pub(super) fn is_any(word: &[u8]) -> bool {
    has(&NO_FUNCTION, word) || has(&OTHER, word)
}

/// Longer words than this are no [`Keyword`].
const LONGEST: usize = 15;

macro_rules! keywords {
    ($($name:ident $text:literal)*) => {
        /// Keywords that the classifier looks at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)] // each is its own word
        pub(super) enum Keyword { None, $($name),* }

        /// What a folded word is.
        fn of(folded: &[u8]) -> Keyword {
            match folded {
                $($text => Keyword::$name,)*
                _ => Keyword::None,
            }
        }
    };
}

keywords! {
    Abort b"abort" Aggregate b"aggregate" All b"all" Also b"also" Alter b"alter" Analyse b"analyse"
    Analyze b"analyze" As b"as" Atomic b"atomic" Authorization b"authorization" Begin b"begin" By b"by"
    Call b"call" Cast b"cast" Chain b"chain" Characteristics b"characteristics" Checkpoint b"checkpoint"
    Close b"close" Cluster b"cluster" Comment b"comment" Commit b"commit" Conflict b"conflict"
    Cross b"cross" Constraints b"constraints" Content b"content" Copy b"copy" Create b"create" Cube b"cube" Current b"current"
    Deallocate b"deallocate" Declare b"declare" Default b"default" Delete b"delete" Discard b"discard"
    Distinct b"distinct" Do b"do" Document b"document" Drop b"drop" End b"end" Execute b"execute"
    Exists b"exists" Explain b"explain" Extension b"extension" False b"false" Fetch b"fetch" First b"first"
    Foreign b"foreign" From b"from" Full b"full" Function b"function" Global b"global" Grant b"grant"
    Group b"group" Grouping b"grouping" Hash b"hash" Hold b"hold" Ilike b"ilike" Import b"import" Index b"index"
    Inner b"inner" Insert b"insert" Instead b"instead" Interval b"interval" Into b"into" Join b"join"
    Key b"key" Language b"language" Left b"left" List b"list" Listen b"listen" Load b"load" Local b"local"
    Lock b"lock" Materialized b"materialized" Merge b"merge" Move b"move" Names b"names" Next b"next"
    Not b"not" Notify b"notify" Off b"off" On b"on" Operator b"operator" Option b"option" Or b"or"
    Order b"order" Outer b"outer" Partition b"partition" PgCatalog b"pg_catalog" PgTemp b"pg_temp" Policy b"policy"
    Prepare b"prepare" Prepared b"prepared" Primary b"primary" Procedure b"procedure" Range b"range"
    Reassign b"reassign" Recursive b"recursive" References b"references" Refresh b"refresh"
    Reindex b"reindex" Release b"release" Replace b"replace" Reset b"reset" Returning b"returning"
    Revoke b"revoke" Right b"right" Role b"role" Rollback b"rollback" Rollup b"rollup" Routine b"routine"
    Rule b"rule" Savepoint b"savepoint" Schema b"schema" Security b"security" Select b"select"
    Session b"session" Set b"set" SetConfig b"set_config" Sets b"sets" Show b"show" Start b"start"
    Stdin b"stdin" Stdout b"stdout" Table b"table" Temp b"temp" Temporary b"temporary" Then b"then"
    Time b"time" To b"to" Transaction b"transaction" Trigger b"trigger" True b"true" Truncate b"truncate"
    Type b"type" Uescape b"uescape" Unlisten b"unlisten" Update b"update" Using b"using" Vacuum b"vacuum"
    Values b"values" Verbose b"verbose" View b"view" With b"with" Work b"work" Xml b"xml" Zone b"zone"
}

/// The keyword that a word without quotes is.
pub(super) fn keyword(word: &[u8]) -> Keyword {
    let mut folded = [0; LONGEST];
    let Some(folded) = folded.get_mut(..word.len()) else { return Keyword::None };
    folded.copy_from_slice(word);
    folded.make_ascii_lowercase();
    match of(folded) {
        // each session has a number
        Keyword::None if folded.starts_with(b"pg_temp_") => Keyword::PgTemp,
        word => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_apart() {
        assert!(NO_FUNCTION.is_sorted_by(|a, b| a < b));
        assert!(OTHER.is_sorted_by(|a, b| a < b));
        assert!(!OTHER.iter().any(|word| is_no_function(word)));
    }

    #[test]
    fn keywords_are_found_in_any_case() {
        assert_eq!(keyword(b"SeLeCt"), Keyword::Select);
        assert_eq!(keyword(b"characteristics"), Keyword::Characteristics);
        assert_eq!(keyword(b"characteristics_"), Keyword::None);
        assert_eq!(keyword(b""), Keyword::None);
        assert!(is_no_function(b"coalesce") && !is_no_function(b"lower"));
        assert!(is_any(b"by") && is_any(b"values") && !is_any(b"alias"));
    }
}
