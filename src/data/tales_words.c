/* tales_words.c - the people, animals, things, places and numbers of the tales, and the small phrases that every plot uses. */
#include "data/tales.h"

/* clang-format off */
#define TABLE(name, forms) {#name, forms, name, (int)(sizeof name / sizeof *name)}
/* clang-format on */

/* ---- who ---- */

static const tale_entry child[] = {
    {1, {"Mia", "she", "her", "her", "a girl named Mia"}},     {2, {"Nora", "she", "her", "her", "a girl named Nora"}},
    {2, {"Lily", "she", "her", "her", "a girl named Lily"}},   {1, {"Ruby", "she", "her", "her", "a girl named Ruby"}},
    {2, {"Clara", "she", "her", "her", "a girl named Clara"}}, {1, {"Ella", "she", "her", "her", "a girl named Ella"}},
    {1, {"Hana", "she", "her", "her", "a girl named Hana"}},   {1, {"Amina", "she", "her", "her", "a girl named Amina"}},
    {1, {"Greta", "she", "her", "her", "a girl named Greta"}}, {1, {"Zoe", "she", "her", "her", "a girl named Zoe"}},
    {1, {"Rosa", "she", "her", "her", "a girl named Rosa"}},   {1, {"Ivy", "she", "her", "her", "a girl named Ivy"}},
    {2, {"Lucy", "she", "her", "her", "a girl named Lucy"}},   {1, {"Vera", "she", "her", "her", "a girl named Vera"}},
    {1, {"Paula", "she", "her", "her", "a girl named Paula"}}, {1, {"Dora", "she", "her", "her", "a girl named Dora"}},
    {2, {"Tom", "he", "him", "his", "a boy named Tom"}},       {2, {"Ben", "he", "him", "his", "a boy named Ben"}},
    {1, {"Max", "he", "him", "his", "a boy named Max"}},       {2, {"Leo", "he", "him", "his", "a boy named Leo"}},
    {2, {"Sam", "he", "him", "his", "a boy named Sam"}},       {1, {"Finn", "he", "him", "his", "a boy named Finn"}},
    {1, {"Omar", "he", "him", "his", "a boy named Omar"}},     {1, {"Hugo", "he", "him", "his", "a boy named Hugo"}},
    {1, {"Ravi", "he", "him", "his", "a boy named Ravi"}},     {1, {"Jack", "he", "him", "his", "a boy named Jack"}},
    {1, {"Otto", "he", "him", "his", "a boy named Otto"}},     {1, {"Noah", "he", "him", "his", "a boy named Noah"}},
    {1, {"Peter", "he", "him", "his", "a boy named Peter"}},   {1, {"Emil", "he", "him", "his", "a boy named Emil"}},
    {1, {"Karl", "he", "him", "his", "a boy named Karl"}},     {1, {"Felix", "he", "him", "his", "a boy named Felix"}},
};

static const tale_entry elder[] = {
    {4, {"Grandma", "she", "her", "her"}},   {4, {"Grandpa", "he", "him", "his"}},   {2, {"Aunt Rose", "she", "her", "her"}},
    {2, {"Uncle Joe", "he", "him", "his"}},  {2, {"the baker", "he", "him", "his"}}, {2, {"the teacher", "she", "her", "her"}},
    {1, {"Mrs. Bell", "she", "her", "her"}}, {1, {"Mr. Green", "he", "him", "his"}}, {2, {"the old farmer", "he", "him", "his"}},
};

static const tale_entry neighbour[] = {
    {1, {"the postman", "he"}}, {1, {"the gardener", "she"}}, {1, {"the shepherd", "he"}},
    {1, {"the tailor", "she"}}, {1, {"the miller", "he"}},
};

static const tale_entry animal[] = {
    {4, {"dog", "a small dog", "barked"}},
    {4, {"cat", "a grey cat", "purred"}},
    {2, {"duck", "a young duck", "quacked"}},
    {2, {"goat", "a little goat", "sneezed"}},
    {2, {"rabbit", "a white rabbit", "wiggled its nose"}},
    {1, {"hedgehog", "a round hedgehog", "sniffed"}},
    {1, {"pony", "an old pony", "shook its head"}},
};

static const tale_entry trait[] = {
    {3, {"kind"}},   {3, {"brave"}},    {2, {"curious"}}, {2, {"patient"}},
    {2, {"clever"}}, {2, {"cheerful"}}, {1, {"gentle"}},  {1, {"stubborn"}},
};

/* ---- where and when ---- */

static const tale_entry home[] = {
    {3, {"in a small house by the sea", "the beach", "the people by the sea"}},
    {3, {"in a village near the forest", "the forest", "the people of the village"}},
    {3, {"on a farm beside the river", "the river", "the people on the farms"}},
    {2, {"at the edge of a quiet town", "the town garden", "the people in town"}},
    {2, {"in an old mill on a hill", "the foot of the hill", "the people around the mill"}},
    {2, {"above a shop in the market square", "the market square", "the people in the square"}},
    {1, {"in a yellow wagon at the end of the road", "the crossroads", "the people along the road"}},
};

static const tale_entry spot[] = {
    {3, {"under the old bridge"}},   {2, {"behind the mill"}},    {2, {"in the tall grass"}},      {3, {"under the apple tree"}},
    {2, {"beside the well"}},        {2, {"on the garden wall"}}, {1, {"in front of the bakery"}}, {1, {"behind the barn"}},
    {1, {"at the top of the hill"}}, {1, {"near the duck pond"}},
};

static const tale_entry weather[] = {
    {3, {"sunny"}}, {3, {"windy"}}, {2, {"cold"}}, {2, {"warm"}}, {2, {"foggy"}}, {1, {"quiet"}}, {1, {"bright"}},
};

static const tale_entry weekday[] = {
    {1, {"Monday"}}, {1, {"Tuesday"}}, {1, {"Wednesday"}}, {1, {"Thursday"}}, {1, {"Friday"}}, {2, {"Saturday"}}, {2, {"Sunday"}},
};

static const tale_entry season[] = {{1, {"spring"}}, {2, {"summer"}}, {2, {"autumn"}}, {1, {"winter"}}};

/* What the sky does: form `had` opens a story, `noun` and `over` come back to it. */
static const tale_entry sky[] = {
    {3, {"rain", "It had rained for three days", "the rain had stopped"}},
    {2, {"snow", "It had snowed all night", "the snow had melted"}},
    {3, {"wind", "A strong wind had been blowing since morning", "the wind had gone to sleep"}},
    {2, {"storm", "A great storm had shaken every door in the night", "the storm was far away"}},
    {1, {"fog", "A thick fog had covered the whole valley", "the fog had lifted"}},
};

/* ---- what ---- */

static const tale_entry colour[] = {
    {4, {"red", "a red"}},        {3, {"blue", "a blue"}},     {3, {"green", "a green"}},     {2, {"yellow", "a yellow"}},
    {1, {"orange", "an orange"}}, {1, {"purple", "a purple"}}, {1, {"striped", "a striped"}}, {1, {"silver", "a silver"}},
};

/* A thing, what its owner did with it every day, and what the owner does when it is back. */
static const tale_entry toy[] = {
    {3, {"kite", "flew it on every windy day", "flew it until the stars came out"}},
    {2, {"scarf", "wore it even in summer", "wrapped it twice around {hero.his} neck"}},
    {2, {"drum", "played it every evening", "played it until the neighbours closed their windows"}},
    {3, {"ball", "kicked it all the way to school", "kicked it all the way home"}},
    {2, {"boat", "sailed it on the pond every evening", "sailed it across the pond and back"}},
    {1, {"lantern", "lit it every night before bed", "lit it although it was still day"}},
    {3, {"hat", "wore it from morning until night", "wore it even at dinner"}},
    {1, {"cup", "drank from it every morning", "drank two cups of warm milk from it"}},
    {2, {"book", "read one page of it every night", "read ten pages without stopping"}},
    {1, {"whistle", "blew it at every corner", "blew it so loudly that the hens ran away"}},
    {1, {"umbrella", "carried it even in the sun", "opened it and danced in a circle"}},
    {1, {"blanket", "slept under it every night", "slept under it better than ever"}},
};

static const tale_entry treat[] = {
    {4, {"apple", "apples"}}, {2, {"pear", "pears"}},     {2, {"plum", "plums"}}, {2, {"egg", "eggs"}},
    {3, {"bun", "buns"}},     {3, {"cookie", "cookies"}}, {1, {"nut", "nuts"}},   {2, {"cake", "cakes"}},
};

/* Numbers know whether their noun is plural. */
static const tale_entry number[] = {
    {2, {"one", "one {treat}", "was one {treat}"}},
    {3, {"two", "two {treat.s}", "were two {treat.s}"}},
    {3, {"three", "three {treat.s}", "were three {treat.s}"}},
    {3, {"four", "four {treat.s}", "were four {treat.s}"}},
    {3, {"five", "five {treat.s}", "were five {treat.s}"}},
    {3, {"six", "six {treat.s}", "were six {treat.s}"}},
    {2, {"seven", "seven {treat.s}", "were seven {treat.s}"}},
    {2, {"eight", "eight {treat.s}", "were eight {treat.s}"}},
    {1, {"nine", "nine {treat.s}", "were nine {treat.s}"}},
    {1, {"ten", "ten {treat.s}", "were ten {treat.s}"}},
    {1, {"eleven", "eleven {treat.s}", "were eleven {treat.s}"}},
    {1, {"twelve", "twelve {treat.s}", "were twelve {treat.s}"}},
};

static const tale_entry junk[] = {
    {2, {"an old shoe"}},     {2, {"a sleeping cat"}}, {1, {"a rusty spoon"}},  {1, {"a very surprised frog"}},
    {1, {"half a sandwich"}}, {1, {"a lost sock"}},    {1, {"a broken plate"}}, {1, {"last year's calendar"}},
};

static const tale_entry prize[] = {
    {2, {"a jar of honey", "the jar of honey"}}, {2, {"a plum pie", "the plum pie"}},         {1, {"a paper crown", "the paper crown"}},
    {1, {"a bag of nuts", "the bag of nuts"}},   {1, {"a wooden medal", "the wooden medal"}}, {1, {"a golden button", "the golden button"}},
    {1, {"a new pencil", "the new pencil"}},     {1, {"a round cheese", "the round cheese"}},
};

/* ---- breakfast and other small things ---- */

static const tale_entry meal[] = {{2, {"bread"}}, {2, {"porridge"}}, {2, {"pancakes"}}, {1, {"toast"}}, {1, {"rice"}}, {1, {"noodles"}}};
static const tale_entry topping[] = {{2, {"honey"}},  {2, {"jam"}},      {2, {"butter"}}, {1, {"raisins"}},
                                     {1, {"cheese"}}, {1, {"cinnamon"}}, {1, {"salt"}}};
static const tale_entry worn[] = {{2, {"old"}},   {2, {"new"}},   {1, {"warm"}},     {1, {"brown"}},
                                  {1, {"thick"}}, {1, {"muddy"}}, {1, {"favourite"}}};
static const tale_entry clothes[] = {{2, {"boots"}}, {2, {"shoes"}},    {1, {"mittens"}},
                                     {1, {"socks"}}, {1, {"trousers"}}, {1, {"slippers"}}};

static const tale_entry bird[] = {{2, {"a robin"}}, {2, {"a blackbird"}}, {1, {"a lark"}},
                                  {1, {"a crow"}},  {1, {"an owl"}},      {1, {"a sparrow"}}};
static const tale_entry tree[] = {{2, {"oak"}}, {1, {"willow"}}, {1, {"hedge"}}, {1, {"pear tree"}}, {1, {"old pine"}}, {1, {"lime tree"}}};
static const tale_entry smell[] = {
    {2, {"hay"}}, {2, {"fresh bread"}}, {2, {"wet grass"}}, {1, {"smoke"}}, {1, {"mint"}}, {1, {"cut wood"}}, {1, {"roses"}}, {1, {"soap"}},
};
static const tale_entry sound[] = {
    {2, {"a bell was ringing"}}, {1, {"a train went by"}},        {1, {"a cow was complaining"}},    {1, {"two geese were quarrelling"}},
    {1, {"a door banged"}},      {1, {"children were laughing"}}, {1, {"somebody was sawing wood"}}, {1, {"a mill wheel was turning"}},
};
static const tale_entry sky_like[] = {
    {1, {"blue milk"}},     {1, {"an old blanket"}}, {1, {"wet wool"}},
    {1, {"a clean plate"}}, {1, {"grey soup"}},      {1, {"the inside of a shell"}},
};

static const tale_entry scene[] = {
    {3, {"{^bird} sang in the {tree}, and the air smelled of {smell}."}},
    {3, {"Far away {sound}, and there was a smell of {smell}."}},
    {2, {"The sky looked like {sky_like}, and somewhere {sound}."}},
};

static const tale_entry morning[] = {
    {3, {"On the day of this story {hero} ate {meal} with {topping}, put on {hero.his} {worn} {clothes} and went out."}},
    {2, {"{^hero} had {meal} and {topping} for breakfast, looked for {hero.his} {worn} {clothes} and went out without them."}},
    {2, {"That day {hero.he} had {hero.his} {worn} {clothes} on and still tasted the {meal} with {topping} from breakfast."}},
};

static const tale_entry carried[] = {
    {2, {"a bucket of milk"}}, {1, {"two hens"}},       {1, {"an empty sack"}}, {1, {"a long stick"}}, {1, {"a letter"}},
    {1, {"a pumpkin"}},        {1, {"a jar of frogs"}}, {1, {"half a ladder"}}, {1, {"a trumpet"}},
};

/* Proverbs: "Better a warm hat than a cold king." */
static const tale_entry good[] = {
    {1, {"a warm"}},  {1, {"a small"}}, {1, {"an honest"}}, {1, {"an old"}},
    {1, {"a round"}}, {1, {"a quiet"}}, {1, {"a wet"}},     {1, {"a friendly"}},
};
static const tale_entry bad[] = {
    {1, {"a cold"}}, {1, {"a great"}},  {1, {"a golden"}}, {1, {"a borrowed"}},
    {1, {"a late"}}, {1, {"an angry"}}, {1, {"a lonely"}}, {1, {"a clever"}},
};
static const tale_entry subject[] = {
    {1, {"hat"}},    {1, {"goat"}},    {1, {"spoon"}},   {1, {"king"}},   {1, {"song"}},
    {1, {"pillow"}}, {1, {"promise"}}, {1, {"pancake"}}, {1, {"secret"}}, {1, {"uncle"}},
};
static const tale_entry proverb[] = {
    {2, {"As {elder} likes to say, \"Better {good} {subject} than {bad} {subject}.\""}},
    {2, {"There is an old saying: \"Better {good} {subject} than {bad} {subject}.\""}},
    {1, {"\"Better {good} {subject} than {bad} {subject},\" as they say there."}},
};

/* How something is said. */
static const tale_entry how[] = {
    {2, {"softly"}},       {2, {"at once"}},       {1, {"after a while"}},  {1, {"slowly"}},
    {1, {"with a frown"}}, {1, {"with big eyes"}}, {1, {"in a low voice"}}, {1, {"kindly"}},
};

/* ---- feelings ---- */

static const tale_entry sad[] = {{4, {"sad"}}, {2, {"worried"}}, {2, {"unhappy"}}, {1, {"pale"}}, {1, {"lonely"}}, {1, {"gloomy"}}};

static const tale_entry glad[] = {{4, {"happy"}}, {2, {"proud"}}, {2, {"glad"}}, {1, {"pleased"}}};

static const tale_entry very[] = {{4, {"very"}}, {2, {"rather"}}, {1, {"really"}}};

static const tale_entry truly[] = {{4, {"very"}}, {2, {"always"}}, {1, {"truly"}}};

/* ---- beginnings and endings for every plot ---- */

static const tale_entry opening[] = {
    {5, {"Once upon a time there was {hero.new} who lived {home}. Everyone said that {hero.he} was {truly} {trait}."}},
    {3, {"Long ago, {hero.new} lived {home}. People knew {hero.him} because {hero.he} was {truly} {trait}."}},
    {3, {"This is the story of {hero.new}, who lived {home} and was {truly} {trait}."}},
    {2, {"In the days when clocks were slow, {hero.new} lived {home}. No child was as {trait} as {hero}."}},
    {2, {"Do you know {hero}? {^hero.he} lives {home} and is {truly} {trait}. Here is what happened to {hero.him}."}},
    {2, {"Last {season}, {hero.new} came to live {home}. Soon everyone knew how {trait} {hero.he} was."}},
};

static const tale_entry closing[] = {
    {3, {"And {home.people} still tell each other how {trait} {hero} is."}},
    {3, {"That night {hero} fell asleep with a smile, and so did {friend}."}},
    {2, {"Since then {hero} and {friend} have been the best of friends."}},
    {2, {"It is good to be {trait}, but it is even better to have a friend like {friend}."}},
    {2, {"When {elder} heard the story, {elder.he} laughed and said, \"That is just like {hero}.\""}},
    {1, {"The end came with tea and {prize}, as all good ends do."}},
    {1, {"Nobody forgot that {weekday} for a long time."}},
};

const tale_table tale_words[] = {
    TABLE(child, "he him his new"),
    TABLE(elder, "he him his"),
    TABLE(neighbour, "he"),
    TABLE(animal, "a sound"),
    TABLE(trait, ""),
    TABLE(home, "walk people"),
    TABLE(spot, ""),
    TABLE(weather, ""),
    TABLE(weekday, ""),
    TABLE(season, ""),
    TABLE(sky, "had over"),
    TABLE(colour, "a"),
    TABLE(toy, "use again"),
    TABLE(treat, "s"),
    TABLE(number, "treats were"),
    TABLE(junk, ""),
    TABLE(prize, "the"),
    TABLE(meal, ""),
    TABLE(topping, ""),
    TABLE(worn, ""),
    TABLE(clothes, ""),
    TABLE(bird, ""),
    TABLE(tree, ""),
    TABLE(smell, ""),
    TABLE(sound, ""),
    TABLE(sky_like, ""),
    TABLE(scene, ""),
    TABLE(morning, ""),
    TABLE(carried, ""),
    TABLE(good, ""),
    TABLE(bad, ""),
    TABLE(subject, ""),
    TABLE(proverb, ""),
    TABLE(how, ""),
    TABLE(sad, ""),
    TABLE(glad, ""),
    TABLE(very, ""),
    TABLE(truly, ""),
    TABLE(opening, ""),
    TABLE(closing, ""),
    {0},
};
